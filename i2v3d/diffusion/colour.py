"""Colour anchoring: the frames of a segment take the colours of the pictures at its ends."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SMALLEST_SPREAD = 1e-3  # of a channel, in [-1, 1]: a flat picture says nothing about contrast


def anchor_colour(frames: Tensor, pictures: Sequence[Tensor]) -> Tensor:
    """Frames (F, 3, H, W) uint8 with the colour statistics of the pictures at their ends.

    pictures: (3, H, W) in [-1, 1] of the first and, if known, the last frame. The gain and offset of each
    channel that give an end frame its picture's mean and standard deviation go linearly from end to end; with
    one picture they are the same for all frames. Neighbouring segments share a picture, so they meet in the
    same colours. After Reinhard et al., Color Transfer between Images, 2001, in RGB.
    """
    signed = frames.to(torch.float32) / 127.5 - 1
    ends = [signed[0], signed[-1]][: len(pictures)]
    fits = [_gain_and_offset(end, picture) for end, picture in zip(ends, pictures, strict=True)]
    gain, offset = (
        torch.stack([torch.lerp(first, last, float(w)) for w in torch.linspace(0, 1, len(frames))])
        for first, last in zip(fits[0], fits[-1], strict=True)
    )
    anchored = gain[..., None, None] * signed + offset[..., None, None]
    return ((anchored + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _gain_and_offset(frame: Tensor, picture: Tensor) -> tuple[Tensor, Tensor]:
    """(3,) each: gain * frame + offset has the picture's mean and standard deviation in every channel."""
    mean, wanted = frame.mean((1, 2)), picture.mean((1, 2))
    spread, wanted_spread = frame.std((1, 2)), picture.std((1, 2))
    gain = torch.where(spread > SMALLEST_SPREAD, wanted_spread / spread.clamp_min(SMALLEST_SPREAD), 1.0)
    return gain, wanted - gain * mean
