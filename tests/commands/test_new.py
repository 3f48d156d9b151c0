"""`i2v3d new`: a scene of a user's photo, composed and checked, or nothing at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from i2v3d import cli
from i2v3d.commands.new_scene import Wanted, fill_template, new_scene
from i2v3d.config.scene import PhotoSceneConfig, SceneConfig
from i2v3d.config.sections import build
from i2v3d.errors import ConfigError, InputError
from i2v3d.images import read_mask, read_rgb
from i2v3d.scene.photo.framing import fitted_size
from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.workplace import set_up

ROOT = Path(__file__).parents[2]
EXIF_ORIENTATION, QUARTER_TURN = 0x0112, 6


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with the shipped configuration, and the current folder."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "weights").symlink_to(ROOT / "weights")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def drawn(height: int = 120, width: int = 180) -> np.ndarray:
    """A red disc on a green ground, both a little noisy."""
    noise = np.random.default_rng(0).normal(0, 8, (height, width, 3))
    return np.clip(
        np.where(disc(height, width)[..., None], [200, 60, 40], [70, 110, 80]) + noise, 0, 255
    ).astype(np.uint8)


def disc(height: int = 120, width: int = 180) -> np.ndarray:
    y, x = np.mgrid[:height, :width] + 0.5
    return (x - 0.45 * width) ** 2 + (y - 0.6 * height) ** 2 < (0.3 * height) ** 2


def photo(folder: Path, name: str = "given.png") -> Path:
    Image.fromarray(drawn()).save(folder / name)
    return folder / name


def wanted(image: Path, **changes: object) -> Wanted:
    values = {"mask": None, "prompt": None, "class_name": None, "size": None} | changes
    return Wanted(name="mine", image=image, **values)  # type: ignore[arg-type]


def scene_of(project: Path, *words: str) -> PhotoSceneConfig:
    (variant,) = compose_variants(project / "conf", ["scene=mine", *words])
    section = build(SceneConfig, variant.config["scene"], "scene")
    assert isinstance(section, PhotoSceneConfig)
    return section


def test_a_scene_is_made_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Beside the project nothing of conf/ is there yet, and a name that the project has is taken."""
    here = tmp_path / "mein Ordner ünd 東"
    here.mkdir()
    monkeypatch.chdir(here)
    photo(here)
    Image.fromarray(disc().astype(np.uint8) * 255).save(here / "m.png")
    words = ["--image", "given.png", "--mask", "m.png", "--class-name", "cup"]
    for taken in ("photo", "coffee", "toy"):
        assert cli.main(["new", taken, *words]) == 2
        assert "exists already; choose another name" in capsys.readouterr().err
    assert cli.main(["new", "mine", *words]) == 0
    files = sorted(
        str(p.relative_to(here)) for name in ("conf", "scenes/mine") for p in (here / name).rglob("*.*")
    )
    assert files == ["conf/scene/mine.yaml", "scenes/mine/mask.png", "scenes/mine/photo.png"]
    (variant,) = compose_variants(set_up(ROOT, here), ["scene=mine"])
    assert variant.config["scene"]["prompt"] == "a sks cup"


@pytest.mark.slow
def test_every_control_of_the_template_is_in_the_new_file_with_its_comment(project: Path) -> None:
    told = new_scene(wanted(photo(project)), Path())
    written, template = ((project / "conf/scene" / f"{n}.yaml").read_text() for n in ("mine", "photo"))
    comments = [line.split("#", 1)[1] for line in template.splitlines() if "#" in line and line[0] != "#"]
    assert comments == [
        line.split("#", 1)[1] for line in written.splitlines() if "#" in line and line[0] != "#"
    ]
    assert yaml.safe_load(written).keys() == yaml.safe_load(template).keys()
    assert scene_of(project).photo == "scenes/mine/photo.png"
    assert "i2v3d preview scene=mine" in told and "GrabCut finds a foreground of" in told


def test_what_the_user_says_is_what_the_scene_says(project: Path) -> None:
    mask = project / "m.png"
    Image.fromarray(disc().astype(np.uint8) * 255).save(mask)
    said = {"mask": mask, "prompt": 'a "nice": cup # red', "class_name": "cup", "size": (512, 288)}
    new_scene(wanted(photo(project), **said), Path())
    scene = scene_of(project)
    assert (scene.prompt, scene.class_name, scene.width, scene.height) == (
        'a "nice": cup # red',
        "cup",
        512,
        288,
    )
    assert scene.mask is not None
    np.testing.assert_array_equal(read_mask(project / scene.mask), disc())


@pytest.mark.slow
def test_a_turned_photo_is_stored_upright_and_an_upright_one_as_it_is(project: Path) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = QUARTER_TURN
    Image.fromarray(np.rot90(drawn())).save(project / "turned.png", exif=exif)
    new_scene(wanted(project / "turned.png"), Path())
    np.testing.assert_array_equal(read_rgb(project / "scenes/mine/photo.png"), drawn())
    shutil.rmtree(project / "scenes/mine")
    (project / "conf/scene/mine.yaml").unlink()
    Image.fromarray(drawn()).save(project / "upright.jpg")
    new_scene(wanted(project / "upright.jpg"), Path())
    assert (project / "scenes/mine/photo.jpg").read_bytes() == (project / "upright.jpg").read_bytes()


def test_transparency_becomes_the_mask(project: Path) -> None:
    Image.fromarray(np.dstack([drawn(), disc().astype(np.uint8) * 255])).save(project / "cut.png")
    told = new_scene(wanted(project / "cut.png"), Path())
    np.testing.assert_array_equal(read_mask(project / "scenes/mine/mask.png"), disc())
    assert "your mask covers" in told


def test_the_horizon_lies_above_the_objects_foot(project: Path) -> None:
    picture, mask = drawn(), np.zeros((120, 180), np.uint8)
    mask[10:40, 60:100] = 255
    Image.fromarray(picture).save(project / "high.png")
    Image.fromarray(mask).save(project / "m.png")
    new_scene(wanted(project / "high.png", mask=project / "m.png"), Path())
    assert scene_of(project).background.horizon == pytest.approx(40 / 120 - 0.1, abs=0.01)


@pytest.mark.parametrize(
    ("native", "aspect", "size"),
    [
        ((1024, 576), 1.5, (1024, 576)),  # keeps 84 % of the photo
        ((1024, 576), 4 / 3, (768, 576)),
        ((1024, 576), 1.0, (768, 768)),
        ((1024, 576), 9 / 16, (576, 1024)),
        ((192, 128), 1.5, (192, 128)),
        ((192, 128), 1.0, (128, 128)),
    ],
)
def test_a_size_fits_the_photo_and_the_models(
    native: tuple[int, int], aspect: float, size: tuple[int, int]
) -> None:
    assert fitted_size(*native, aspect) == size


@pytest.mark.slow
def test_the_size_follows_the_models(project: Path) -> None:
    new_scene(wanted(photo(project)), Path())
    assert (scene_of(project).width, scene_of(project).height) == (192, 128)
    large = scene_of(project, "models=sdxl_svd")
    assert (large.width, large.height) == (1024, 576)


# ---------------------------------------------------------------- refused, and nothing left behind
def nothing_left(project: Path) -> bool:
    return not (project / "scenes/mine").exists() and not (project / "conf/scene/mine.yaml").exists()


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"no picture", "not a readable picture"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "not a readable picture|damaged"),
    ],
)
def test_an_unusable_photo_is_refused(project: Path, contents: bytes | None, message: str) -> None:
    if contents is not None:
        (project / "bad.png").write_bytes(contents)
    with pytest.raises(InputError, match=message):
        new_scene(wanted(project / "bad.png"), Path())
    assert nothing_left(project)


@pytest.mark.parametrize("value", [0, 255])
def test_a_mask_of_nothing_or_everything_is_refused(project: Path, value: int) -> None:
    Image.fromarray(np.full((120, 180), value, np.uint8)).save(project / "m.png")
    with pytest.raises(InputError, match="selects"):
        new_scene(wanted(photo(project), mask=project / "m.png"), Path())
    assert nothing_left(project)


def test_a_mask_of_another_size_is_refused(project: Path) -> None:
    Image.fromarray(np.full((60, 90), 255, np.uint8)).save(project / "m.png")
    with pytest.raises(InputError, match="is 90x60 but the photo is 180x120"):
        new_scene(wanted(photo(project), mask=project / "m.png"), Path())


@pytest.mark.parametrize("name", ["Mine", "../mine", "mine.yaml", "", "-x", "a" * 41])
def test_a_bad_name_is_refused(project: Path, name: str) -> None:
    request = Wanted(name, photo(project), None, None, None, None)
    with pytest.raises(ConfigError, match="is no name for a scene"):
        new_scene(request, Path())


def test_nothing_is_overwritten(project: Path) -> None:
    new_scene(wanted(photo(project)), Path())
    before = (project / "conf/scene/mine.yaml").read_text()
    with pytest.raises(ConfigError, match=r"mine\.yaml exists already"):
        new_scene(wanted(photo(project), prompt="something else"), Path())
    (project / "conf/scene/mine.yaml").unlink()
    with pytest.raises(ConfigError, match="scenes/mine exists already"):
        new_scene(wanted(photo(project)), Path())
    assert (project / "scenes/mine/photo.png").is_file() and "something else" not in before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("1024", "expected WIDTHxHEIGHT"),
        ("0x64", "expected WIDTHxHEIGHT"),
        ("512x300", "scene.height is 300; models 'mini' need a multiple of 32: use 288 or 320"),
    ],
)
def test_a_bad_size_is_refused(
    project: Path, words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["new", "mine", "--image", str(photo(project)), "--size", words]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and nothing_left(project)


def test_a_scene_that_a_run_would_refuse_is_taken_back(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise InputError("the photo is blue")

    monkeypatch.setattr("i2v3d.commands.new_scene.check_scene", refuse)
    with pytest.raises(InputError, match="cannot be used: the photo is blue"):
        new_scene(wanted(photo(project)), Path())
    assert nothing_left(project)


def test_outside_a_project_it_says_where_to_go(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run this in the project's folder"):
        new_scene(wanted(photo(tmp_path)), tmp_path)


def test_a_template_without_a_key_is_an_error() -> None:
    text = "# head\n# more\na: # first\n  b: 1 # second\n  c: 2\nb: 3\n"
    filled = fill_template(text, "x", {("a", "b"): "7", ("b",): "8"})
    assert yaml.safe_load(filled) == {"a": {"b": 7, "c": 2}, "b": 8} and "# second" in filled
    assert "head" not in filled and filled.startswith("# Scene x.")
    with pytest.raises(ConfigError, match=r"lacks a\.d"):
        fill_template(text, "x", {("a", "d"): "1"})
