"""The benchmark's clips as one batch, to measure trainings on."""

from __future__ import annotations

import torch

from i2v3d.toy.world.clips import held_out_clip
from i2v3d.toy.world.held_out import MOVING, balanced_clips
from i2v3d.toy.world.sampling import Scenes
from miniature.settings import WorldSettings


def held_out_shots(world: WorldSettings, frames: int, pace: float) -> Scenes:
    """The benchmark's first `world.held_out` clips of `frames` frames, on the CPU."""
    count = -(-world.held_out // len(MOVING)) * len(MOVING)
    numbers = list(balanced_clips(world.seed, world.variants, 0, count))[: world.held_out]
    clips = [held_out_clip(world.seed, world.variants, number, frames, pace) for number in numbers]
    objects = (torch.cat(column) for column in zip(*(clip.objects for clip in clips), strict=True))
    others = (torch.cat(column) for column in zip(*(clip[1:] for clip in clips), strict=True))
    return Scenes(type(clips[0].objects)(*objects), *others)
