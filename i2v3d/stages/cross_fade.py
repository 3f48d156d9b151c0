"""Stage cross_fade: the baseline that blends neighbouring keyframes, without any model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from i2v3d.artifacts.folders import frame_name, keyframe_numbers, list_frames, segment_frame_numbers
from i2v3d.config.stages import CrossFadeStage
from i2v3d.errors import ArtifactError
from i2v3d.images import read_rgb, write_rgb
from i2v3d.stages.context import StageContext


def cross_fade(cfg: CrossFadeStage, inputs: Mapping[str, Path], out: Path, ctx: StageContext) -> None:
    """Writes every frame: (1 - w_j) first + w_j last keyframe of its segment, w_j = j / (F - 1), in sRGB values.

    inputs: 'keyframes'. Raises ArtifactError if its frames are not the keyframes of such segments.
    """
    found = list_frames(inputs["keyframes"])
    if found != keyframe_numbers(found[-1], cfg.segment_frames):
        raise ArtifactError(
            f"{inputs['keyframes']} holds frames {found}, which are not keyframes of segments of "
            f"{cfg.segment_frames} frames; delete it and re-run keyframes"
        )
    for segment in range(len(found) - 1):
        first, last = (
            read_rgb(inputs["keyframes"] / frame_name(found[segment + end])).astype(np.float32)
            for end in (0, 1)
        )
        numbers = segment_frame_numbers(found, segment)
        for number, weight in zip(numbers, np.linspace(0, 1, len(numbers)), strict=True):
            blend = (1 - weight) * first + weight * last
            write_rgb(out / frame_name(number), np.round(blend).astype(np.uint8))
    ctx.log_metrics({"frames": found[-1]})
