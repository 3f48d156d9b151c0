"""Held-out clips by number: one definition for whatever renders them."""

from __future__ import annotations

import torch

from i2v3d.errors import ConfigError
from i2v3d.toyworld.sampling import Scenes, captions, sample
from i2v3d.toyworld.shapes import build_bank

HELD_OUT_CLIPS = 1000  # numbers of one world; keeps the random streams of two worlds apart


def held_out_clip(seed: int, variants: int, index: int, frames: int) -> Scenes:
    """Clip `index` of the held-out split: one scene of `frames` frames, on the CPU.

    seed, variants: the world, as the networks were trained in it (conf/mini). A clip depends on neither the
    clips before it nor, but for how finely its motion is divided, on `frames` (2 or more; a single frame
    stands still). Raises ConfigError for an index outside 0 ... HELD_OUT_CLIPS - 1, no frame, or a bank too
    small to be split.
    """
    if not 0 <= index < HELD_OUT_CLIPS:
        raise ConfigError(
            f"held-out clip {index} does not exist; scene.index counts from 0 to {HELD_OUT_CLIPS - 1}"
        )
    if frames < 1:
        raise ConfigError(f"a clip of {frames} frames cannot be made; scene.frames is at least 1")
    generator = torch.Generator().manual_seed(HELD_OUT_CLIPS * seed + index)
    return sample(1, frames, build_bank(variants, seed), generator, "held_out")


def held_out_caption(seed: int, variants: int, index: int) -> str:
    """What held-out clip `index` shows, in the toy world's words. Raises ConfigError as `held_out_clip`."""
    return captions(held_out_clip(seed, variants, index, 1))[0]
