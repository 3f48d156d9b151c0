"""The clip of a segment is inverted under the light of the photo, where that is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from i2v3d.artifacts.latents import InvertedClip
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.config.bounds import RenderLight
from i2v3d.config.interpolate import InterpolationInversionConfig
from i2v3d.config.stages import InterpolationInversionStage
from i2v3d.stages.context import StageContext
from i2v3d.stages.interpolation_inversion import invert_segment
from i2v3d.toy.moving_disc import write_moving_disc
from tests.support.video_family import write_tiny_video_family

FRAMES, SEGMENT, HEIGHT, WIDTH = 7, 4, 32, 48


def test_the_clip_is_inverted_under_the_light_of_the_photo(tmp_path: Path) -> None:
    models = write_tiny_video_family(tmp_path)
    render = tmp_path / "render"
    write_moving_disc(render, FRAMES, HEIGHT, WIDTH)

    def start(light: RenderLight, brightness: float) -> torch.Tensor:
        for frame in range(1, FRAMES + 1):
            picture = RenderFolder(render).rgb(frame)
            RenderFolder(render).write_lit(frame, (picture * brightness).astype(np.uint8))
        out = tmp_path / f"{light}_{brightness}"
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
        invert_segment(stage, {"render": render}, out, StageContext(device="cpu", max_batch=0, work=tmp_path))
        return InvertedClip.load(out, "cpu").forward[0]

    flat, same, dark = start("flat", 0.3), start("photo", 1.0), start("photo", 0.6)
    assert torch.equal(same, flat) and (dark - flat).square().mean() > 1e-3
