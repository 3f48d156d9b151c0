"""Finished stage folders of planned shots whose quality is known: no Blender, no sampling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2v3d.benchmark.trials import Trial
from i2v3d.config.evaluate import EvaluateConfig
from i2v3d.config.scene import SceneConfig, ToySceneConfig
from i2v3d.config.sections import build
from i2v3d.config.stages import EvaluateStage
from i2v3d.report.outcomes import folder
from i2v3d.stages import evaluate
from i2v3d.stages.context import StageContext
from tests.support.evaluated_shot import read_frames, write_scene_and_render, write_video

# Of planned shots that are judged in a moment: two segments, one ray a pixel.
SMALL = (
    "scene.width=96",
    "scene.height=64",
    "scene.frames=5",
    "scene.samples=1",
    "interpolate.segment_frames=3",
)


def publish_shot(cache: Path, trial: Trial, config: dict[str, Any], *, good: bool) -> None:
    """The finished stage folders of a trial whose frames are almost the truth (good) or the coarse render.

    Without the evaluation's own drawing of curves, which takes as long as judging the shot and which no report reads.
    """
    scene = build(SceneConfig, config["scene"], "scene")
    assert isinstance(scene, ToySceneConfig)
    inputs = {name: folder(cache, trial, name) for name in ("scene", "render", "keyframes", "assemble")}
    if not inputs["scene"].is_dir():
        made = write_scene_and_render(scene, cache / "made" / str(trial.clip))
        for name in ("scene", "render"):
            inputs[name].parent.mkdir(parents=True, exist_ok=True)
            made[name].rename(inputs[name])
    true = read_frames(inputs["scene"] / "truth" / "photo").astype(float)
    coarse = read_frames(inputs["render"] / "rgb").astype(float)
    frames = (0.8 * true + 0.2 * coarse if good else coarse).round().astype(np.uint8)
    made = write_video(frames, cache / "made" / f"{trial.clip}-{trial.method}")
    for name, place in made.items():
        inputs[name].parent.mkdir(parents=True, exist_ok=True)
        if not inputs[name].is_dir():
            place.rename(inputs[name])
    out = folder(cache, trial, "evaluate")
    out.mkdir(parents=True)
    cfg = EvaluateStage(evaluate=build(EvaluateConfig, config["evaluate"], "evaluate"), segment_frames=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "draw_curves", lambda *_: None)
        evaluate.evaluate_video(cfg, inputs, out, StageContext(device="cpu", max_batch=0, work=cache))
