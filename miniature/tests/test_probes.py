"""What the networks reach alone: the shipped weights in a few steps, against numbers that are known otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from i2v3d.config.sections import build
from i2v3d.images import read_rgb
from i2v3d.stages.context import StageContext
from i2v3d.toy.scene import load_clip, truth
from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.selection import stage_config
from miniature.probe_image import ImageProbe, probe_image
from miniature.probe_video import VideoProbe, probe_video
from miniature.probes import PROBES
from tests.support.evaluated_shot import random_estimator

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
WORDS = (
    "scene=toy", "scene.index=3", "scene.frames=3", "interpolate.segment_frames=3", "scene.width=96", "scene.height=64",
    "keyframes.steps=2", "interpolate.steps=2",
)  # fmt: skip


def probe_config(stage: str, cls: Any, *words: str) -> Any:
    (variant,) = compose_variants(ROOT / "conf", [*WORDS, *words])
    return build(cls, stage_config(PROBES[stage], variant.config), stage)


def context(tmp_path: Path) -> StageContext:
    return StageContext(device="cpu", max_batch=0, work=tmp_path)


@pytest.fixture(autouse=True)
def _at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_autoencoder_and_depth_control_are_measured_on_true_pictures(tmp_path: Path) -> None:
    words = f"evaluate.estimators.toy.source={random_estimator(tmp_path / 'estimator')}"
    cfg = probe_config("probe_image", ImageProbe, words)
    probe_image(cfg, {}, tmp_path, context(tmp_path))
    found = json.loads((tmp_path / "metrics.json").read_text())
    # Half the size that it was trained at; a wrong scale of latents or colours would fall below 15 dB.
    assert 22 < found["vae_psnr"] < 45 and 15 < found["vae_psnr_fg"] < found["vae_psnr"] + 5
    assert 0 <= found["depth_mask_iou"] <= 1 and 5 < found["depth_psnr"] < 30
    sheet = read_rgb(tmp_path / "sheet.png")
    assert sheet.shape == (3 * 64 + 2 * 4, 2 * 96 + 4, 3)
    photo = truth(load_clip(cfg.scene), 96, 64, cfg.scene.samples).photo
    assert (sheet[:64, :96] == photo[0]).all() and (sheet[:64, -96:] == photo[-1]).all()


def test_middle_frames_are_measured_beside_a_cross_fade(tmp_path: Path) -> None:
    cfg = probe_config("probe_video", VideoProbe)
    probe_video(cfg, {}, tmp_path, context(tmp_path))
    found = json.loads((tmp_path / "metrics.json").read_text())["psnr"]
    photo = (
        torch.from_numpy(truth(load_clip(cfg.scene), 96, 64, cfg.scene.samples).photo.copy()).double() / 255
    )
    faded = (photo[0] + photo[2]) / 2
    assert found["cross_fade"] == pytest.approx(
        float(-10 * ((faded - photo[1]) ** 2).mean().log10()), abs=1e-3
    )
    assert len({round(found[name], 3) for name in ("both", "forward", "method")}) == 3, "three different ways"
    assert all(5 < found[name] < 40 for name in ("both", "forward", "method"))
    assert read_rgb(tmp_path / "sheet.png").shape[0] == 5 * 64 + 4 * 4
