"""The clip of a segment is inverted under the light of the photo, where that is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from i2v3d.artifacts.latents import InvertedClip
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.config.interpolate import InterpolationInversionConfig
from i2v3d.config.stages import InterpolationInversionStage
from i2v3d.stages.context import StageContext
from i2v3d.stages.interpolation_inversion import invert_segment
from i2v3d.toy.moving_disc import write_moving_disc
from tests.support.photo_scenes import write_photo_scene
from tests.support.video_family import write_tiny_video_family

FRAMES, SEGMENT, HEIGHT, WIDTH = 7, 4, 32, 48


def test_the_clip_is_inverted_under_the_light_of_the_photo(tmp_path: Path) -> None:
    models = write_tiny_video_family(tmp_path)
    render = tmp_path / "render"
    write_moving_disc(render, FRAMES, HEIGHT, WIDTH)
    first = RenderFolder(render).rgb(1)
    write_photo_scene(tmp_path / "same", first, FRAMES)
    write_photo_scene(tmp_path / "dark", (first * 0.6).astype(np.uint8), FRAMES)

    def start(light: str, scene: str) -> torch.Tensor:
        out = tmp_path / f"{light}_{scene}"
        out.mkdir()
        inversion = InterpolationInversionConfig(
            light=light,
            deferred=True,
            steps=2,
            solver="euler",
            control_scale=1.0,
            depth_range="shot",
            fps=30,
            motion_bucket=127,
            noise_aug=0.02,
            compat_unflipped_depth=False,
            seed=5,
        )
        stage = InterpolationInversionStage(models, inversion, SEGMENT, 1)
        inputs = {"render": render} if light == "flat" else {"render": render, "scene": tmp_path / scene}
        invert_segment(stage, inputs, out, StageContext(device="cpu", max_batch=0, work=tmp_path))
        return InvertedClip.load(out, "cpu").forward[0]

    flat, same, dark = start("flat", ""), start("photo", "same"), start("photo", "dark")
    assert 4 * (same - flat).square().mean() < (dark - flat).square().mean()
