"""`i2v3d doctor` says all at once what a run would stop at, and what the shot will cost."""

from __future__ import annotations

import json
import os
from importlib import metadata
from pathlib import Path

import pytest

from i2v3d import cli
from i2v3d.models.gpu import Gpu
from i2v3d.workflow import doctor
from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.doctor import Finding, examine
from i2v3d.workflow.estimates import estimate

CONF = Path(__file__).parents[2] / "conf"
PUBLISHED = ("models=sdxl_svd", "scene=coffee")


@pytest.fixture(autouse=True)
def empty_model_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds what this machine happens to have."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "models"))
    monkeypatch.setattr(doctor, "found_gpus", list)
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def of(found: list[Finding], topic: str) -> list[Finding]:
    """The findings about a topic."""
    return [one for one in found if one.topic == topic]


def test_the_shipped_family_is_ready_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "scene=toy", "--cache", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said.endswith("\nready\n") and not list(tmp_path.iterdir())
    for topic in (
        "versions",
        "threads",
        "memory",
        "video encoder",
        "GPU",
        "shot",
        "time",
        "Blender",
        "disk",
        "W&B",
    ):
        assert f" {topic} " in said
    assert "folder weights/mini/image, sha256 " in said and "an estimate from one measurement" in said


def test_a_folder_of_the_users_is_examined_as_a_run_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my shots").mkdir()
    monkeypatch.chdir(tmp_path / "my shots")
    assert cli.main(["doctor", "scene=toy"]) == 0
    assert capsys.readouterr().out.endswith("\nready\n")


def test_everything_that_is_missing_is_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["doctor", *PUBLISHED, "runtime.device=cuda", "--cache", str(tmp_path), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["ready"] is False
    blockers = {one["topic"]: one["said"] for one in told["findings"] if one["state"] == "blocker"}
    weights = {f"models.{side}.{part}" for side in ("image", "video") for part in ("base", "controlnet")}
    assert set(blockers) == weights | {"models.image.vae", "GPU"}
    assert "fetch it with i2v3d fetch" in blockers["models.video.base"]
    assert "runtime.device=auto" in blockers["GPU"]


def test_a_mistake_in_the_words_is_a_finding(tmp_path: Path) -> None:
    (found,) = of(examine(CONF, ["scene=toy", "lora.stepz=3"], tmp_path), "configuration")
    assert found.state == "blocker" and "stepz" in found.said


@pytest.mark.parametrize(
    ("gpus", "state", "said"),
    [
        ([], "note", "on a CPU take hours"),
        ([Gpu("small", 6.0, 5.0)], "blocker", "small: 5 of 6 GiB free; about 8 GiB are needed at this size"),
        ([Gpu("small", 6.0, 6.0), Gpu("large", 24.0, 23.0)], "ok", "networks run on the GPU"),
    ],
)
def test_a_card_is_compared_with_models_and_size(
    gpus: list[Gpu], state: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "found_gpus", lambda: gpus)
    (found,) = of(examine(CONF, PUBLISHED, tmp_path), "GPU")
    assert found.state == state and said in found.said


def test_estimates_reproduce_what_was_measured_and_scale_with_the_shot() -> None:
    def costs(*words: str, segments: int = 2) -> tuple[float, float]:
        (variant,) = compose_variants(CONF, [*PUBLISHED, *words])
        found = estimate(variant.config, segments)
        assert found is not None
        return found.minutes * 60, found.gpu_gib

    seconds, gib = costs("lora.steps=500", segments=6)
    assert seconds == pytest.approx(40.6 + 5.7 + 15.7 + (10.1 + 23.9) * 6) and gib == 7.5
    assert costs("lora.steps=1000", segments=6)[0] == pytest.approx(seconds + 40.6)
    assert costs("lora.steps=500", segments=2)[0] == pytest.approx(40.6 + 21.4 * 3 / 7 + 34.0 * 2)
    smaller = costs("lora.steps=500", "scene.width=512", "scene.height=576", segments=6)
    assert smaller == (pytest.approx(40.6 + (seconds - 40.6) / 2), 7.5)


def test_backbones_are_estimated_apart() -> None:
    words = ["scene=coffee", "models=wan_vace", "models.segment_frames=81", "models.frames=81"]
    with_keyframes, from_the_photo = (
        estimate(compose_variants(CONF, [*words, *more])[0].config, 1)
        for more in ([], ["infill.keyframes=photo", "infill.start=overlap"])
    )
    assert with_keyframes is not None and from_the_photo is not None
    size = 832 * 480 / (1024 * 576)
    assert with_keyframes.minutes * 60 == pytest.approx(125 + 40.6 + 21.4 * 2 / 7 * size)
    assert from_the_photo.minutes * 60 == pytest.approx(125)


def test_packages_that_are_missing_or_old_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["no-such-package-at-all>=1", "torch>=99", "numpy>=1", 'only-for-tests>=1; extra == "dev"']
    monkeypatch.setattr(metadata, "requires", lambda name: asked)
    blocked = [
        one.said for one in of(examine(CONF, ["scene=toy"], tmp_path), "versions") if one.state == "blocker"
    ]
    assert len(blocked) == 1
    assert (
        blocked[0].startswith("no-such-package-at-all is not installed; torch is ")
        and "only-for" not in blocked[0]
    )


def test_a_busy_machine_and_a_tracker_without_a_key_are_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (1000.0, 0.0, 0.0))
    monkeypatch.setenv("HOME", str(tmp_path))
    found = examine(CONF, ["scene=toy", "tracking.mode=online"], tmp_path)
    (threads,), (tracker,) = of(found, "threads"), of(found, "W&B")
    assert threads.state == tracker.state == "note"
    assert "others keep it busy" in threads.said and "wandb login" in tracker.said
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (tracker,) = of(examine(CONF, ["scene=toy", "tracking.mode=online"], tmp_path), "W&B")
    assert tracker == Finding("W&B", "ok", "disabled, by WANDB_MODE")
    monkeypatch.setenv("WANDB_MODE", "ofline")
    (tracker,) = of(examine(CONF, ["scene=toy"], tmp_path), "W&B")
    assert tracker.state == "blocker" and "WANDB_MODE is 'ofline'" in tracker.said
