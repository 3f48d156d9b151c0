"""The report from its plan to its pages, on shots whose order is known: no Blender, no sampling."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2v3d.benchmark.settings import load_settings
from i2v3d.benchmark.trials import Trial
from i2v3d.config.scene import SceneConfig, ToySceneConfig
from i2v3d.config.sections import build
from i2v3d.errors import ArtifactError, ConfigError
from i2v3d.images import write_rgb
from i2v3d.report.outcomes import Outcome, folder
from i2v3d.workflow.plan import settings_path
from miniature.report import collect, keyframe_gain_db
from miniature.report_plan import ReportPlan, ReportSettings, plan_report
from miniature.tests.support import command
from tests.support.evaluated_shot import random_estimator, read_frames, write_scene_and_render, write_video
from tests.support.published_shots import SMALL, publish_shot

ROOT = Path(__file__).parents[2]
CONF, OWN = ROOT / "conf", ROOT / "miniature" / "conf"
BEST, WORST = "base", "no_injection"


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_settings_files_are_complete() -> None:
    for path in (OWN / "report").glob("*.yaml"):
        load_settings(OWN, "report", path.stem, ReportSettings)
    with pytest.raises(ConfigError, match="did you mean 'quick'"):
        load_settings(OWN, "report", "quik", ReportSettings)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, ReportPlan]:
    """Cache, plan file and plan of a report whose jobs are finished; turned keyframes are the true pictures."""
    cache = tmp_path_factory.mktemp("report")
    words = [*SMALL, f"evaluate.estimators.toy.source={random_estimator(cache / 'estimator')}"]
    quick = load_settings(OWN, "report", "quick", ReportSettings)
    changed = dataclasses.replace(quick, sweep="injection", full=BEST, rivals=(WORST,), overrides=(), shown=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        plan = plan_report(CONF, cache, changed, words)
    for trial, variant in zip(plan.shots.trials, plan.shots.plan.variants, strict=True):
        publish_shot(cache, trial, variant.config, good=trial.method == BEST)
    for trial, variant in zip(plan.turned.trials, plan.turned.plan.variants, strict=True):
        scene = build(SceneConfig, variant.config["scene"], "scene")
        assert isinstance(scene, ToySceneConfig) and scene.view_deg == 60
        made = write_scene_and_render(scene, cache / "made" / f"turned-{trial.clip}")
        made["scene"].rename(folder(cache, trial, "scene"))
        true = read_frames(folder(cache, trial, "scene") / "truth" / "photo")
        shown = write_video(true, cache / "made" / f"turned-{trial.clip}")
        shown["keyframes"].rename(folder(cache, trial, "keyframes"))
    image = {
        "vae_psnr": 30.0,
        "vae_psnr_fg": 25.0,
        "depth_mask_iou": 0.5,
        "truth_mask_iou": 0.9,
        "depth_psnr": 15.0,
    }
    video = {"both": 25.0, "forward": 20.0, "method": 26.0, "cross_fade": 22.0}
    for nodes in plan.probes.values():
        for node in nodes:
            out = cache / node.stage / node.key
            out.mkdir(parents=True)
            found: dict[str, Any] = image if node.stage == "probe_image" else {"psnr": video}
            (out / "metrics.json").write_text(json.dumps(found))
            write_rgb(out / "sheet.png", np.zeros((8, 8, 3), np.uint8))
            scene = node.config["scene"]
            assert (scene["frames"], scene["pace"]) == (3, 1.0), "one segment at the training's pace"
    assert all(path.is_dir() for path in plan.folders(cache))
    return cache, plan.write(cache, settings_path(cache, {})), plan


def test_the_report_of_the_miniature_has_every_number(
    planned: tuple[Path, Path, ReportPlan], tmp_path: Path
) -> None:
    cache, plan_file, _ = planned
    words = ["report", "--plan", plan_file, "--cache", cache, "--out", tmp_path]
    command(*words)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["vae_psnr"] == 30 and metrics["depth_mask_iou"] == 0.5 and metrics["n_scenes"] == 3
    assert metrics["interpolation_gain_db"] == 3 and metrics["forward_only_gain_db"] == -2
    assert metrics["interpolation_method_gain_db"] == 4
    gain = 20 * np.log10(5)  # four fifths of the coarse render's error are gone
    assert metrics["keyframe_gain_db"] == pytest.approx(gain, abs=0.3)
    assert metrics["pipeline_gain_db"] == pytest.approx(gain, abs=0.3)
    assert metrics["pipeline_best_rival"] == WORST
    assert metrics["identity_top1"] == metrics["identity_top1_truth"], "the keyframes are the true pictures"
    assert metrics["identity_gallery"] == 3
    gains = [float(row["keyframe_gain_db"]) for row in table(tmp_path / "scenes.csv")]
    assert metrics["medians"]["keyframe_gain_db"] == pytest.approx(np.median(gains))
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert page.count("<video") == 3 and "keyframe_gain_db" in page
    assert "| `vae_psnr` | 30.000 | 30.000 | 32 |" in text
    for line in text.splitlines():
        if line.startswith("!["):
            assert (tmp_path / line.split("(")[1].rstrip(")")).is_file()
    assert len(table(tmp_path / "scenes.csv")) == 3


def test_frame_one_does_not_count_in_the_gain_of_keyframes() -> None:
    rows = [
        {"clip": clip, "frame": str(frame), "psnr": str(value)}
        for clip, values in (("keyframes", {1: 50, 3: 24, 5: 22}), ("coarse", {1: 10, 2: 11, 3: 20, 5: 20}))
        for frame, value in values.items()
    ]
    outcome = Outcome(Trial(0, "base", {}, 2, ()), {"scores": {}}, tuple(rows), None)
    assert keyframe_gain_db(outcome) == 3
    with pytest.raises(ArtifactError, match="no keyframes"):
        keyframe_gain_db(dataclasses.replace(outcome, rows=()))


def test_an_unfinished_report_of_the_miniature_names_what_is_missing(
    planned: tuple[Path, Path, ReportPlan], tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match=r"clip \d+, base: scene: was not started"):
        collect(planned[1], tmp_path)
