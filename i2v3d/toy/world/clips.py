"""Held-out clips by number: one definition for whatever renders them. `held_out` says what they show without torch."""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from i2v3d.errors import ConfigError
from i2v3d.toy.world.held_out import HELD_OUT_CLIPS, HeldOut, Motion, check_index
from i2v3d.toy.world.sampling import Scenes, captions, sample
from i2v3d.toy.world.shapes import build_bank
from i2v3d.toy.world.solids import Bank

STILL = 1e-6  # metres or radians a frame


def held_out_clip(seed: int, variants: int, index: int, frames: int, pace: float = 1.0) -> Scenes:
    """Clip `index` of the held-out split: one scene of `frames` frames, on the CPU.

    seed, variants: the world, as the networks were trained in it. A clip depends on neither the clips before
    it nor, but for how finely its motion is divided, on `frames` (2 or more; a single frame stands still).
    pace: how many times as far everything moves as in the clips that networks are trained on.
    Raises ConfigError for an index outside 0 ... HELD_OUT_CLIPS - 1, no frame, or a bank too
    small to be split.
    """
    check_index(index)
    if frames < 1:
        raise ConfigError(f"a clip of {frames} frames cannot be made; scene.frames is at least 1")
    generator = torch.Generator().manual_seed(HELD_OUT_CLIPS * seed + index)
    return sample(1, frames, _bank(variants, seed), generator, "held_out", pace)


def describe(seed: int, variants: int, index: int) -> HeldOut:
    """Held-out clip `index` in words. Raises ConfigError as `held_out_clip`."""
    clip = held_out_clip(seed, variants, index, 2)
    return HeldOut(captions(clip)[0], motion(clip))


def motion(clip: Scenes) -> Motion:
    """What moves in a clip of one scene and at least 2 frames: the camera, the object or a part of it, or both."""

    def moves(*tensors: torch.Tensor) -> bool:
        return any(bool((tensor.diff(dim=1).abs() > STILL).any()) for tensor in tensors)

    camera, thing = moves(clip.eye, clip.target), moves(clip.place, clip.heading, clip.bend)
    if camera:
        return "both" if thing else "camera"
    return "object" if thing else "none"


def turned(clip: Scenes, view_deg: float) -> Scenes:
    """The clip with another rotation of its objects: over its frames, their view turns by `view_deg`, evenly.

    The view is the angle between the object's heading and the direction that the camera sees it from, so the
    camera's own orbit is made up for. Positive: counter-clockwise seen from above.
    """
    orbit = clip.azimuth - clip.azimuth[:, :1]
    orbit = torch.atan2(orbit.sin(), orbit.cos())
    progress = torch.linspace(0, 1, clip.frames).expand(clip.size, -1)
    return clip._replace(heading=clip.heading[:, :1] + orbit + math.radians(view_deg) * progress)


@lru_cache(maxsize=2)
def _bank(variants: int, seed: int) -> Bank:
    """Bank of objects of a world; kept, since whoever asks for one clip asks for many."""
    return build_bank(variants, seed)
