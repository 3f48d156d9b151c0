"""Anchoring: the frames of a segment take over from the pictures at its ends what decoding lost or changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from i2v3d.geometry.correspondence import Motion

SMALLEST_SPREAD = 1e-3  # of a channel, in [-1, 1]: a flat picture says nothing about contrast


def anchored(
    frames: Tensor,
    pictures: Sequence[Tensor],
    anchor: Literal["none", "colour", "detail"],
    motion: Motion | None,
    interp_strength: float,
) -> Tensor:
    """Frames (F, 3, H, W) uint8 with what they take over from the pictures of the ends that guide the last step.

    pictures: (3, H, W) in [-1, 1] of the first and, if known, the last frame. motion: of the render, None where it is
    not known: detail then stays as decoded. interp_strength: below 1 the last steps see the first picture only.
    """
    guiding = pictures if interp_strength == 1 else pictures[:1]
    if anchor == "colour":
        return anchor_colour(frames, guiding)
    if anchor == "detail" and motion is not None:
        return anchor_detail(frames, guiding, motion)
    return frames


def anchor_colour(frames: Tensor, pictures: Sequence[Tensor]) -> Tensor:
    """Frames (F, 3, H, W) uint8 with the colour statistics of the pictures at their ends.

    pictures: (3, H, W) in [-1, 1] of the first and, if known, the last frame. The gain and offset of each
    channel that give an end frame its picture's mean and standard deviation go linearly from end to end; with
    one picture they are the same for all frames. Neighbouring segments share a picture, so they meet in the
    same colours. After Reinhard et al., Color Transfer between Images, 2001, in RGB.
    """
    signed = _signed(frames)
    ends = [signed[0], signed[-1]][: len(pictures)]
    fits = [_gain_and_offset(end, picture) for end, picture in zip(ends, pictures, strict=True)]
    gain, offset = (
        torch.stack([torch.lerp(first, last, float(w)) for w in torch.linspace(0, 1, len(frames))])
        for first, last in zip(fits[0], fits[-1], strict=True)
    )
    return _bytes(gain[..., None, None] * signed + offset[..., None, None])


def anchor_detail(frames: Tensor, pictures: Sequence[Tensor], motion: Motion) -> Tensor:
    """Frames (F, 3, H, W) uint8 with what their end frames lack of the pictures that they stand for.

    pictures: (3, H, W) in [-1, 1] of the first and, if known, the last frame. The difference of picture and end
    frame (what the autoencoder lost and sampling changed) moves with the surfaces along the render's exact flow
    wherever they stay in sight, with weights that fall linearly from 1 at its own end to 0 at the other, as those
    of the two directions do. An end frame becomes its picture, so that segments that share one meet in it.
    """
    signed = _signed(frames)
    weight = torch.linspace(0, 1, len(frames)).view(-1, 1, 1, 1)
    added = (1 - weight) * motion.reversed().carried(pictures[0] - signed[0]).flip(0)
    if len(pictures) > 1:
        added = added + weight * motion.carried(pictures[1] - signed[-1])
    return _bytes(signed + added)


def _signed(frames: Tensor) -> Tensor:
    """uint8 to [-1, 1]."""
    return frames.to(torch.float32) / 127.5 - 1


def _bytes(signed: Tensor) -> Tensor:
    """[-1, 1] to uint8."""
    return ((signed + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _gain_and_offset(frame: Tensor, picture: Tensor) -> tuple[Tensor, Tensor]:
    """(3,) each: gain * frame + offset has the picture's mean and standard deviation in every channel."""
    mean, wanted = frame.mean((1, 2)), picture.mean((1, 2))
    spread, wanted_spread = frame.std((1, 2)), picture.std((1, 2))
    gain = torch.where(spread > SMALLEST_SPREAD, wanted_spread / spread.clamp_min(SMALLEST_SPREAD), 1.0)
    return gain, wanted - gain * mean
