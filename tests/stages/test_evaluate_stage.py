"""The evaluation of whole shots whose scores are known in advance."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from i2v3d.artifacts.folders import frame_name
from i2v3d.errors import ArtifactError
from i2v3d.images import read_rgb, write_rgb
from i2v3d.metrics.catalogue import SCORES
from i2v3d.stages.context import StageContext
from i2v3d.stages.evaluate import EvaluateStage, evaluate_video
from tests.support.evaluated_shot import (
    FRAMES,
    random_estimator,
    read_frames,
    shot_config,
    write_scene_and_render,
    write_video,
)

pytestmark = pytest.mark.slow  # seconds a shot; the scores alone are tests/metrics


@dataclass
class Shot:
    cfg: EvaluateStage
    folders: dict[str, Path]
    true: NDArray[np.uint8]
    coarse: NDArray[np.uint8]

    def evaluate(
        self, frames: NDArray[np.uint8], folder: Path, **changed: Any
    ) -> tuple[dict[str, Any], Path]:
        """metrics.json of a video, and the folder with everything else."""
        out = folder / "evaluate"
        out.mkdir(parents=True)
        inputs = {**self.folders, **write_video(frames, folder)}
        ctx = StageContext(device="cpu", max_batch=0, work=folder, metrics_file=out / "metrics.jsonl")
        cfg = dataclasses.replace(self.cfg, evaluate=dataclasses.replace(self.cfg.evaluate, **changed))
        evaluate_video(cfg, inputs, out, ctx)
        return json.loads((out / "metrics.json").read_text()), out


@pytest.fixture(scope="module")
def shot(tmp_path_factory: pytest.TempPathFactory) -> Shot:
    folder = tmp_path_factory.mktemp("shot")
    scene, cfg = shot_config(random_estimator(folder / "estimator"))
    folders = write_scene_and_render(scene, folder)
    return Shot(
        cfg,
        folders,
        read_frames(folders["scene"] / "truth" / "photo"),
        read_frames(folders["render"] / "rgb"),
    )


@pytest.fixture(scope="module")
def of_truth(shot: Shot, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    return shot.evaluate(shot.true, tmp_path_factory.mktemp("true"))


def test_the_true_video_scores_as_the_truth_does(of_truth: tuple[dict[str, Any], Path]) -> None:
    scores = of_truth[0]["scores"]
    assert scores["video"]["psnr"] == 100 and scores["video"]["ssim"] == pytest.approx(1, abs=1e-5)
    assert scores["keyframes"]["psnr"] == 100
    for name, value in scores["truth"].items():
        assert scores["video"][name] == value, name
    assert "psnr" not in scores["truth"], "the truth against itself says nothing"
    assert 5 < scores["coarse"]["psnr"] < 40


def test_the_coarse_render_as_video_scores_as_the_coarse_render(shot: Shot, tmp_path: Path) -> None:
    scores = shot.evaluate(shot.coarse, tmp_path)[0]["scores"]
    assert scores["video"].pop("keyframe_psnr") == 100, "its keyframes are the coarse ones"
    assert scores["video"] == scores["coarse"]
    assert scores["video"]["colour_drift"] == 0


def test_every_frame_has_its_row(of_truth: tuple[dict[str, Any], Path]) -> None:
    with (of_truth[1] / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["clip"], int(r["frame"])) for r in rows] == [
        *(("video", n) for n in range(1, FRAMES + 1)),
        *(("keyframes", n) for n in (1, 3, 5)),
        *(("coarse", n) for n in range(1, FRAMES + 1)),
        *(("truth", n) for n in range(1, FRAMES + 1)),
    ]
    assert [r["keyframe"] for r in rows[:FRAMES]] == ["1", "0", "1", "0", "1"]
    assert [r["psnr"] for r in rows[:FRAMES]] == ["100"] * FRAMES
    assert rows[0]["warping_error"] == "" and float(rows[1]["warping_error"]) > 0
    coarse = [float(r["psnr"]) for r in rows if r["clip"] == "coarse"]
    # Frame 1 is given: it does not count.
    assert np.mean(coarse[1:]) == pytest.approx(of_truth[0]["scores"]["coarse"]["psnr"], rel=1e-4)


def test_estimators_are_named_and_what_is_left_out_says_why(of_truth: tuple[dict[str, Any], Path]) -> None:
    report = of_truth[0]
    for name in ("depth_si_rmse", "mask_iou", "identity"):
        assert report["estimators"][name].endswith("estimator"), name
    assert "161 pixels" in report["skipped"]["ms_ssim"]
    assert "local model cache" in report["skipped"]["clip_i"]
    assert "weights/evaluation/lpips" in report["skipped"]["lpips"]
    left_out = set(report["skipped"])
    assert set(SCORES) == left_out | {name for name, v in report["scores"]["video"].items() if v is not None}


def test_a_jump_at_the_seam_and_a_flash_are_seen(
    shot: Shot, of_truth: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    jumping = shot.true.copy()
    jumping[3:] = np.clip(jumping[3:].astype(int) + 30, 0, 255)
    scores = shot.evaluate(jumping, tmp_path)[0]["scores"]
    assert scores["video"]["seam_jump"] > 2 * scores["truth"]["seam_jump"]
    assert scores["video"]["seam_jump_warped"] > 2 * scores["truth"]["seam_jump_warped"]
    assert scores["video"]["flicker"] > scores["truth"]["flicker"] + 0.01
    assert scores["video"]["colour_drift"] > scores["truth"]["colour_drift"] + 3
    assert of_truth[0]["scores"]["video"]["seam_jump"] < 2


def test_embeddings_are_kept_for_comparisons_with_other_scenes(
    of_truth: tuple[dict[str, Any], Path],
) -> None:
    vectors = load_file(of_truth[1] / "embeddings.safetensors")
    assert set(vectors) == {f"{who}/identity" for who in ("video", "keyframes", "coarse", "truth")}
    assert vectors["video/identity"].shape[0] == FRAMES and vectors["keyframes/identity"].shape[0] == 3
    assert torch.equal(vectors["video/identity"], vectors["truth/identity"])


def test_curves_and_metrics_of_record_are_written(of_truth: tuple[dict[str, Any], Path]) -> None:
    assert read_rgb(of_truth[1] / "curves.png").std() > 5
    lines = [json.loads(line) for line in (of_truth[1] / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "step" in line] == list(range(1, FRAMES + 1))
    assert any(line.get("coarse/psnr") for line in lines)


def test_a_scene_without_truth_and_estimator_keeps_what_needs_neither(shot: Shot, tmp_path: Path) -> None:
    folders = {**shot.folders, "scene": tmp_path / "scene"}
    shutil.copytree(shot.folders["scene"], folders["scene"], ignore=shutil.ignore_patterns("truth"))
    estimators = dataclasses.replace(
        shot.cfg.evaluate.estimators,
        toy=dataclasses.replace(shot.cfg.evaluate.estimators.toy, source=str(tmp_path / "none")),
    )
    bare = Shot(shot.cfg, folders, shot.true, shot.coarse)
    report = bare.evaluate(shot.coarse, tmp_path / "run", estimators=estimators)[0]
    assert set(report["scores"]) == {"video", "keyframes", "coarse"} and not report["estimators"]
    assert {"warping_error", "flicker", "seam_jump", "colour_drift"} <= set(report["scores"]["video"])
    assert report["skipped"]["psnr"] == "the scene has no known truth"
    assert "does not exist" in report["skipped"]["mask_iou"]


def test_frames_of_another_size_are_refused(shot: Shot, tmp_path: Path) -> None:
    inputs = {**shot.folders, **write_video(shot.true, tmp_path)}
    write_rgb(inputs["assemble"] / "frames" / frame_name(4), np.zeros((32, 32, 3), np.uint8))
    ctx = StageContext(device="cpu", max_batch=0, work=tmp_path)
    (tmp_path / "out").mkdir()
    with pytest.raises(ArtifactError, match=r"0004\.png is 32x32"):
        evaluate_video(shot.cfg, inputs, tmp_path / "out", ctx)


def test_a_variant_without_keyframes_is_judged_without_them(shot: Shot, tmp_path: Path) -> None:
    inputs = {**shot.folders, **write_video(shot.coarse, tmp_path)}
    del inputs["keyframes"]
    (tmp_path / "out").mkdir()
    evaluate_video(shot.cfg, inputs, tmp_path / "out", StageContext(device="cpu", max_batch=0, work=tmp_path))
    scores = json.loads((tmp_path / "out" / "metrics.json").read_text())["scores"]
    assert set(scores) == {"video", "coarse", "truth"} and "seam_jump" in scores["video"]
