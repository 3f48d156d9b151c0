"""What a job would refuse although words and networks said it beforehand is refused before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2v3d.errors import I2V3DError
from i2v3d.workflow.agreement import check_options
from i2v3d.workflow.composition import Composer
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.plan import make_plan
from i2v3d.workflow.preflight import check_plan

ROOT = Path(__file__).parents[2]
REFUSED = {
    "keyframes.inversion.steps=7": "keyframes.inversion.steps is 7, but keyframes.steps is 25; the sampling goes on",
    "interpolate.inversion.steps=7": "interpolate.inversion.steps is 7, but interpolate.steps is 25; the sampling",
    "interpolate.inversion.control_scale=0.5": "interpolate.inversion.control_scale is 0.5, but interpolate.",
    "interpolate.inversion.depth_range=frame": "interpolate.inversion.depth_range is frame, but",
    "interpolate.inversion.solver=dpmpp_2m": "interpolate.inversion.solver is dpmpp_2m, but interpolate.solver",
    "render.light=flat keyframes.inversion.light=photo": "keyframes.inversion.light is photo, but render.light is flat",
    "render.light=flat interpolate.inversion.light=photo": "interpolate.inversion.light is photo, but render.light",
    "render.light=flat assemble.frames=render assemble.light=photo": "assemble.light is photo, but render.light is",
    "interpolate.steps=1": "interpolate.inversion.steps is 1; the video model needs at least 2",
    "keyframes.cache_interval=2": "keyframes.cache_interval is 2, but runtime.perf is plain; fast networks alone",
    "keyframes.overlap=4": "keyframes.overlap is 4 in windows of 4; expected 0 to 3",
    "models=mini_vace infill.segment_frames=5": "infill.segment_frames is 5, but the shot is cut into segments of 9",
    "keyframes.source=photo infill.start=overlap": "keyframes.source is photo, but what makes the frames (interpolate)",
    "keyframes.source=truth": "a scene from photo; use scene=toy or keyframes.source=generated",
    "lora.resolution=100": "lora.resolution is 100; models 'mini' need a multiple of 32: use 96 or 128",
    "lora.target_modules=[to_qq]": "lora.target_modules: no linear layer is called to_qq; did you mean 'to_q'",
    "models.image.layers.attention=[up.*]": "models.image.layers.attention names 'up.*', which is no layer",
    "models.image.layers.conv=[mid_block.resnets.*.conv9]": "models.image.layers.conv names 'mid_block.resnets.*.con",
    "models.video.layers.attention=[attn1]": "models.video.layers.attention names 'attn1', which is no layer of",
    "models.video.layers.block=[up_blocks.9.*]": "models.video.layers.block names 'up_blocks.9.*', which is no lay",
}  # fmt: skip


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer(ROOT / "conf", None)


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def check(composer: Composer, folder: Path, *words: str) -> None:
    """Plans and checks; nothing is written."""
    plan = make_plan([composer.variant("base", words)], Fingerprints(folder / "memo.json"))
    check_plan(plan, folder / "cache")


@pytest.mark.parametrize("word", REFUSED)
def test_what_cannot_agree_is_refused_before_any_work(word: str, composer: Composer, tmp_path: Path) -> None:
    with pytest.raises(I2V3DError) as refused:
        check(composer, tmp_path, "scene=coffee", "runtime.perf=plain", *word.split())
    assert REFUSED[word] in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "words",
    [
        ("scene=toy",),
        ("scene=toy", "keyframes.source=truth", "keyframes.overlap=9"),
        ("scene=coffee", "assemble.frames=render", "interpolate.steps=1", "keyframes.source=truth"),
        ("scene=coffee", "keyframes.injection=false", "models.image.layers.conv=[nothing]"),
    ],
)
def test_what_no_stage_reads_may_be_anything(words: tuple[str, ...], composer: Composer) -> None:
    check_options(composer.variant("base", words).config)


def test_a_mode_of_the_tracker_that_does_not_exist_stops_a_run_before_any_work(
    composer: Composer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(I2V3DError, match="WANDB_MODE is 'ofline'; set it to offline, online or disabled"):
        check(composer, tmp_path, "scene=toy")
