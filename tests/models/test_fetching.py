"""Weights come from a hub exactly as they are needed, whole, and what is wrong with them is told in a line.

The hub is a server on loopback; its repositories are small ones in the layout of SDXL and SVD.
"""

from __future__ import annotations

import dataclasses
import errno
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from i2v3d import cli
from i2v3d.config.models import ImageModelConfig, VideoModelConfig
from i2v3d.config.sections import plain
from i2v3d.config.weights import WeightsRef
from i2v3d.errors import I2V3DError, MachineError, WeightsError
from i2v3d.logs import NOISY
from i2v3d.models.hub_cache import verify
from i2v3d.models.manifest import Manifest
from i2v3d.models.needs import Need, judge_needs, model_needs, scene_needs
from i2v3d.models.sdxl_weights import load_image_models
from i2v3d.models.svd import load_video_models
from i2v3d.models.weights import resolve
from i2v3d.workflow import fetching
from i2v3d.workflow.composition import compose_variants
from tests.support.hub_server import COMMIT, Hub, hurry, serve
from tests.support.image_family import write_tiny_family
from tests.support.video_family import write_tiny_video_family

UNKNOWN = Manifest({}, ())
DIFFUSERS = "diffusion_pytorch_model.safetensors"
UNET = f"unet/{DIFFUSERS}"


@dataclasses.dataclass(frozen=True)
class Family:
    """A small published family: its repositories' folders, its configuration, and what that needs."""

    repositories: dict[str, Path]
    image: ImageModelConfig
    video: VideoModelConfig

    @property
    def needs(self) -> list[Need]:
        """In the order of the configuration."""
        return model_needs({"models": {"image": plain(self.image), "video": plain(self.video)}})


def published(name: str, subfolder: str | None = None) -> WeightsRef:
    """A reference to a repository; the temporal ControlNet's has no pinned commit and lies in a subfolder."""
    revision = None if subfolder else COMMIT
    return WeightsRef(f"o/{name}", revision, subfolder, None, 0.1, "a licence")


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    folder = tmp_path_factory.mktemp("published")
    image, video = write_tiny_family(folder), write_tiny_video_family(folder)
    (folder / "temporal").mkdir()
    (folder / "video_controlnet").rename(folder / "temporal" / "controlnet")
    for extra in ("sd_xl.safetensors", "unet/diffusion_pytorch_model.bin", "README.md"):
        (folder / "image" / extra).write_bytes(b"not needed")
    (folder / "video" / "README.md").write_text("not needed")
    return Family(
        {f"o/{name}": folder / name for name in ("image", "image_controlnet", "video", "temporal")},
        dataclasses.replace(image, base=published("image"), controlnet=published("image_controlnet")),
        dataclasses.replace(video, base=published("video"), controlnet=published("temporal", "controlnet")),
    )


@pytest.fixture
def hub(family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The family's hub, and an empty cache; `hurry` has been told."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    hurry(monkeypatch)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    with serve(Hub(dict(family.repositories))) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server
        huggingface_hub.close_session()


def fetched(needs: list[Need], source: Path | None = None) -> list[str]:
    """The lines that a fetch tells."""
    lines: list[str] = []
    fetching.fetch(needs, UNKNOWN, source, lines.append)
    return lines


def refused(needs: list[Need], kind: type[I2V3DError], source: Path | None = None) -> str:
    """The one line that a fetch ends with."""
    with pytest.raises(kind) as caught:
        fetched(needs, source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
def test_exactly_what_the_loaders_read_is_fetched_once(family: Family, hub: Hub) -> None:
    lines = fetched(family.needs)
    kept = {
        need.option: sorted(
            str(path.relative_to(resolve(need.ref)))
            for path in resolve(need.ref).rglob("*")
            if path.is_file() and "tokenizer" not in str(path)
        )
        for need in family.needs
    }
    assert kept == {
        "models.image.base": [
            "scheduler/scheduler_config.json",
            *(
                f"{part}/{name}"
                for part in ("text_encoder", "text_encoder_2")
                for name in ("config.json", "model.safetensors")
            ),
            *(f"{part}/{name}" for part in ("unet", "vae") for name in ("config.json", DIFFUSERS)),
        ],
        "models.image.controlnet": ["config.json", DIFFUSERS],
        "models.video.base": [
            "feature_extractor/preprocessor_config.json",
            *(f"image_encoder/{name}" for name in ("config.json", "model.safetensors")),
            "scheduler/scheduler_config.json",
            *(f"{part}/{name}" for part in ("unet", "vae") for name in ("config.json", DIFFUSERS)),
        ],
        "models.video.controlnet": ["config.json", DIFFUSERS],
    }
    assert any("o/image at 0123456789ab, 17 files" in line and "licence: a licence" in line for line in lines)
    load_image_models(family.image, "cpu", ("unet", "controlnet", "vae", "text"))
    load_video_models(family.video, "cpu", ("unet", "controlnet", "vae", "image_encoder"))
    hub.asked.clear()
    assert any("all here" in line for line in fetched(family.needs))
    assert hub.fetched() == set()


def test_a_broken_transfer_goes_on_where_it_broke(family: Family, hub: Hub) -> None:
    need = family.needs[:1]
    hub.cut[UNET] = 100_000
    assert "cannot be reached" in refused(need, MachineError)
    with pytest.raises(WeightsError, match="is not in the local model cache"):
        fetching._checked(need[0], UNKNOWN, False)
    hub.cut.clear()
    hub.asked.clear()
    fetched(need)
    (again,) = (line for line in hub.asked if UNET in line and line.startswith("GET"))
    assert int(again.rsplit("bytes=", 1)[1].rstrip("-")) >= 90_000
    assert verify(resolve(need[0].ref), [UNET], delete=False) == 1


def test_a_truncated_file_of_the_cache_is_named_and_fetched_anew(family: Family, hub: Hub) -> None:
    need = family.needs[:1]
    fetched(need)
    blob = (resolve(need[0].ref) / UNET).resolve()
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-1000])
    lines: list[str] = []
    with pytest.raises(WeightsError, match="1 of 1 weights cannot be used"):
        fetching.check(need, UNKNOWN, lines.append, hashes=False)
    assert UNET in lines[0] and "is truncated or corrupt" in lines[0]
    hub.asked.clear()
    fetched(need)
    assert blob.read_bytes() == whole and hub.fetched() == {UNET}


def test_a_changed_byte_is_found_by_its_hash(family: Family, hub: Hub) -> None:
    need = family.needs[:1]
    fetched(need)
    blob = (resolve(need[0].ref) / UNET).resolve()
    content = bytearray(blob.read_bytes())
    content[-5] ^= 1
    blob.write_bytes(content)
    lines: list[str] = []
    fetching.check(need, UNKNOWN, lines.append, hashes=False)
    with pytest.raises(WeightsError):
        fetching.check(need, UNKNOWN, lines.append, hashes=True)
    assert "is not what its repository has (its hash differs); fetch it again with i2v3d fetch" in lines[-1]


def test_a_file_that_a_mirror_sends_wrong_is_not_kept(family: Family, hub: Hub) -> None:
    need = family.needs[:1]
    true = (family.repositories["o/image"] / UNET).read_bytes()
    hub.swapped[UNET] = true[:-1] + bytes([true[-1] ^ 1])
    assert "was deleted; run the same command again" in refused(need, WeightsError)
    hub.swapped.clear()
    fetched(need)


def test_a_repository_that_lacks_a_file_is_refused_before_anything_is_fetched(
    family: Family, hub: Hub, tmp_path: Path
) -> None:
    shutil.copytree(family.repositories["o/image"], tmp_path / "copy")
    (tmp_path / "copy" / UNET).unlink()
    hub.repositories["o/image"] = tmp_path / "copy"
    said = refused(family.needs, WeightsError)
    assert said.startswith(
        f"o/image at {COMMIT} has no {UNET}; correct source, revision, subfolder or variant of"
    )
    assert hub.fetched() == set()


def test_a_gated_repository_is_explained(family: Family, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.gated.add("o/image")
    said = refused(family.needs[:1], WeightsError)
    assert f"accept it on {hub.url}/o/image, then log in with: hf auth login" in said
    monkeypatch.setenv("HF_TOKEN", "hf_token_of_a_test")
    fetched(family.needs[:1])


@pytest.mark.parametrize(
    ("instead", "told"),
    [
        ((200, b"<html>log in to the network</html>"), "does not answer as a hub of models does; log in"),
        ((200, b"{}"), "does not answer as a hub of models does"),
        ((200, b"[]"), "does not answer as a hub of models does"),
        ((401, b"no"), "refuses o/image with code 401; log in anew with: hf auth login"),
        ((403, b"no"), "refuses o/image with code 403"),
    ],
)
def test_what_is_no_hub_or_refuses_is_told_in_a_line(
    instead: tuple[int, bytes], told: str, family: Family, hub: Hub
) -> None:
    hub.instead = instead
    assert told in refused(family.needs[:1], I2V3DError)
    assert type(huggingface_hub.get_session()).__module__.partition(".")[0] in NOISY


def test_repositories_and_revisions_that_do_not_exist_are_named(family: Family, hub: Hub) -> None:
    def of(**changes: str) -> list[Need]:
        return [dataclasses.replace(family.needs[0], ref=dataclasses.replace(published("image"), **changes))]

    assert "o/nothing is not on http" in refused(of(source="o/nothing"), WeightsError)
    assert "o/image has no revision " + "f" * 40 in refused(of(revision="f" * 40), WeightsError)


def test_a_full_disk_is_told_before_and_during_the_transfer(
    family: Family, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 1000))
        assert "GB free, these weights take 0.0 GB and 1 GB must stay free" in refused(
            family.needs, MachineError
        )
    assert hub.fetched() == set()

    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(huggingface_hub.file_download, "http_get", full)
    assert "cannot be written (No space left on device); free its disk" in refused(
        family.needs[:1], MachineError
    )


def test_without_a_network_the_ways_out_are_told(
    family: Family, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    said = refused(family.needs[:1], MachineError)
    assert said.startswith("http://127.0.0.1:9 cannot be reached (") and "--from FOLDER" in said
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refused(family.needs[:1], MachineError)
    assert hub.asked == []


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["cache", "home", "plain"])
def test_a_folder_of_another_machine_fills_the_cache(
    layout: str, family: Family, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, video = tmp_path / "other", family.needs[2:]
    if layout == "plain":
        for name, folder in family.repositories.items():
            shutil.copytree(folder, source / name)
    else:
        place = source if layout == "cache" else source / "hub"
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place))
        fetched(video)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    hub.asked.clear()
    lines = fetched(video, source)
    assert hub.asked == [] and any("o/video from" in line and "a licence" in line for line in lines)
    load_video_models(family.video, "cpu", ("controlnet", "image_encoder"))
    assert "README.md" not in {path.name for path in resolve(family.video.base).iterdir()}
    fetching.check(video, UNKNOWN, lines.append, hashes=True)
    assert "files have their repository's hashes" in lines[-1]


def test_a_folder_that_lacks_something_is_refused(family: Family, hub: Hub, tmp_path: Path) -> None:
    assert f"{tmp_path} holds no o/image; expected it in" in refused(family.needs[:1], WeightsError, tmp_path)
    shutil.copytree(family.repositories["o/image"], tmp_path / "image")
    (tmp_path / "image" / "vae" / "config.json").unlink()
    assert "lacks vae/config.json; copy all of o/image there" in refused(
        family.needs[:1], WeightsError, tmp_path
    )


@pytest.mark.slow
def test_the_command_brings_what_its_words_choose(
    family: Family, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    words = []
    for option, ref in {
        "image.base": family.image.base,
        "image.controlnet": family.image.controlnet,
        "video.base": family.video.base,
        "video.controlnet": family.video.controlnet,
    }.items():
        words += [
            f"models.{option}.{name}={'null' if value is None else value}"
            for name, value in plain(ref).items()
            if name in ("source", "revision", "subfolder")
        ]
    assert cli.main(["fetch", "scene=toy", *words, "--check"]) == 2
    told = capsys.readouterr()
    assert told.out.count("is not in the local model cache") == 4 and hub.asked == []
    assert told.err.splitlines()[-1].startswith("i2v3d: error: 4 of 4 weights cannot be used")
    assert cli.main(["fetch", "scene=toy", *words]) == 0
    assert capsys.readouterr().out.count("complete: ") == 4
    assert cli.main(["fetch", "scene=toy", *words, "--check"]) == 0
    assert capsys.readouterr().out.count("files have their repository's hashes") == 4


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("scene.segment.method=sam2",), ["scene.segment.weights"]),
        (("scene.segment.method=words",), ["scene.segment.weights", "scene.segment.detector"]),
        (("scene.segment.method=sam2", "scene.mask=mask.png"), []),
        (("scene.background.method=depth",), ["scene.background.depth.weights"]),
        (("scene.inpaint.method=sdxl",), ["scene.inpaint.model.weights"]),
    ],
)
def test_a_scene_asks_for_the_networks_of_its_methods(words: tuple[str, ...], asked: list[str]) -> None:
    base = ("scene=coffee", "scene.mask=null")
    (variant,) = compose_variants(Path(__file__).parents[2] / "conf", [*base, *words])
    assert [need.option for need in scene_needs(variant.config)] == asked
    judges = {need.ref.source for need in judge_needs(variant.config)}
    assert "CIDAS/clipseg-rd64-refined" in judges and "weights/mini/estimator" not in judges
