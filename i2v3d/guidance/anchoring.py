"""Anchoring: frames take over what decoding lost or changed of pictures that are known: a segment's ends, renders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from i2v3d.geometry.correspondence import Motion

SMALLEST_SPREAD = 1e-3  # of a channel, in [-1, 1]: a flat picture says nothing about contrast
# Least squared error of a keyframe, in what a segment adds: where keyframe and frame err alike, they are close.
KEYFRAME_ERROR = 2
BLENDED = 0.5  # of a frame between two known pictures, an estimate beside the networks' own
# Of a picture's height: standard deviation of the blur that leaves colours without detail.
COLOUR_SCALE = 1 / 8


@dataclass(frozen=True)
class Drift:
    """How far the last frame of a segment whose last steps did not see its keyframe may be from the truth.

    foreground: (H, W) bool, where that frame shows the object. on_object, elsewhere: root mean square of the error that
    a segment adds there, as a fraction of a colour's range; 0: unknown, the frame stays. segments: from the last
    picture that was known to that frame.
    """

    foreground: Tensor
    on_object: float
    elsewhere: float
    segments: int

    def share(self, difference: Tensor) -> Tensor:
        """(H, W) in [0, 1]: how much of its keyframe makes the truest mixture with the frame.

        difference: (3, H, W) of keyframe and frame, in [-1, 1] each. Both estimate one true frame. The frame's squared
        error P grows by q a segment: k q after k segments that were not mixed, and sqrt(q S) where mixing keeps it
        steady, the smaller of which holds. The keyframe's R does not grow; S, their mean squared difference, is P + R,
        unless both err alike, so R is at least KEYFRAME_ERROR q. A Kalman filter's gain is P / (P + R), here at most a
        half. Source: Kalman, A New Approach to Linear Filtering and Prediction Problems, 1960; S is taken from what is
        seen as in Mehra, On the Identification of Variances and Adaptive Kalman Filtering, 1970.
        """
        share = torch.zeros(self.foreground.shape)
        for inside, added in ((self.foreground, self.on_object), (~self.foreground, self.elsewhere)):
            if added and bool(inside.any()):
                apart = float((difference[:, inside] / 2).square().mean())
                frame = min(self.segments * added**2, added * apart**0.5)
                share[inside] = frame / (frame + max(apart - frame, KEYFRAME_ERROR * added**2))
        return share


def anchored(
    frames: Tensor,
    pictures: Sequence[Tensor],
    anchor: Literal["none", "colour", "detail"],
    motion: Motion | None,
    drift: Drift | None,
) -> Tensor:
    """Frames (F, 3, H, W) uint8 with what they take over from the pictures of their ends.

    pictures: (3, H, W) in [-1, 1] of the first and, if known, the last frame. motion: of the render, None where it is
    not known: detail then stays as decoded. drift: of the last frame, where the last steps see the first picture
    alone: of the last one, colour then takes nothing and detail a share; None where both guide to the last step.
    """
    if anchor == "colour":
        return anchor_colour(frames, pictures[:1] if drift else pictures)
    if anchor == "detail" and motion is not None:
        return anchor_detail(frames, pictures, motion, drift)
    return frames


def with_render_detail(
    frames: Tensor, renders: Tensor, decoded: Tensor, visible: Tensor, fraction: float
) -> Tensor:
    """Frames (N, 3, H, W) uint8 with a fraction of what the autoencoder loses of their renders on surfaces.

    renders, decoded: (N, 3, H, W) uint8, before the autoencoder and behind it; visible: (N, H, W) bool. Edges and
    patterns of a render lie where those of its frame do; what they lose, both lose alike.
    """
    lost = _signed(renders) - _signed(decoded)
    return as_bytes(_signed(frames) + fraction * visible[:, None] * lost)


def with_render_colour(
    frames: Tensor, renders: Tensor, foreground: Tensor, visible: Tensor, fraction: float
) -> Tensor:
    """Frames (N, 3, H, W) uint8 whose colours go a fraction of the way to their renders', on surfaces; detail stays.

    renders: (N, 3, H, W) uint8; foreground, visible: (N, H, W) bool. Colours are what a wide blur leaves, of the
    foreground and of what lies behind it each by itself. Source: low frequencies of what is known and high ones of what
    was generated, as in the colour correction of Wang et al., Exploiting Diffusion Prior for Real-World Image
    Super-Resolution, 2024; Knutsson and Westin, Normalized Convolution, 1993, for the masks.
    """
    apart, added = _signed(renders) - _signed(frames), torch.zeros(frames.shape)
    for region in (foreground & visible, visible & ~foreground):
        inside = region[:, None].to(apart.dtype)
        near = _blurred(torch.cat([inside * apart, inside], dim=1), COLOUR_SCALE * frames.shape[-2])
        added += inside * near[:, :3] / near[:, 3:].clamp(min=1e-3)
    return as_bytes(_signed(frames) + fraction * added)


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
    return as_bytes(gain[..., None, None] * signed + offset[..., None, None])


def anchor_detail(frames: Tensor, pictures: Sequence[Tensor], motion: Motion, drift: Drift | None) -> Tensor:
    """Frames (F, 3, H, W) uint8 with what their end frames lack of the pictures that they stand for.

    pictures: (3, H, W) in [-1, 1] of the first and, if known, the last frame. drift: as in `anchored`. The difference
    of picture and end frame (what the autoencoder lost and sampling changed) moves with the surfaces along the render's
    exact flow wherever they stay in sight, with weights that fall linearly from 1 at its own end to 0 at the other, as
    those of the two directions do. An end frame becomes its picture, so that segments that share one meet in it; a last
    frame that has drifted takes over its share alone, and the next segment goes on from the mixture. Between two
    pictures that both guide to the last step a surface is known twice: frames meet the pictures' own blend along it
    halfway (BLENDED), so that half of what networks change along a surface, beyond what the pictures say, stays.
    """
    signed = _signed(frames)
    late = torch.linspace(0, 1, len(frames)).view(-1, 1, 1, 1)
    if len(pictures) > 1 and drift is None:
        return as_bytes(_between(signed, pictures, motion, late))
    added = (1 - late) * motion.reversed().carried(pictures[0] - signed[0]).flip(0)
    if len(pictures) > 1 and drift is not None:
        difference = pictures[1] - signed[-1]
        difference = drift.share(difference) * difference
        if bool(difference.any()):
            added = added + late * motion.carried(difference)
    return as_bytes(signed + added)


def _between(signed: Tensor, pictures: Sequence[Tensor], motion: Motion, late: Tensor) -> Tensor:
    """Frames (F, 3, H, W) between two known pictures, see `anchor_detail`; late: (F, 1, 1, 1) from 0 to 1."""
    everywhere = torch.ones_like(signed[0, :1])
    shown = lacking = torch.zeros_like(signed)
    known = torch.zeros_like(signed[:, :1])
    for end, weight, backwards in ((0, 1 - late, True), (-1, late, False)):
        own = torch.cat([pictures[end], pictures[end] - signed[end], everywhere])
        carried = motion.reversed().carried(own).flip(0) if backwards else motion.carried(own)
        seen = weight * (carried[:, 6:] > 0.5)
        shown, lacking, known = shown + seen * carried[:, :3], lacking + seen * carried[:, 3:6], known + seen
    blend = torch.where(known > 0, shown / known.clamp(min=1e-6), signed + lacking)
    return torch.lerp(signed + lacking, blend, BLENDED)


def _blurred(pictures: Tensor, sigma: float) -> Tensor:
    """Pictures (N, C, H, W) behind a Gaussian blur of standard deviation `sigma` pixels, 0 outside.

    As products of matrices: convolutions with kernels this wide take minutes on a CPU.
    """
    return _gaussian(pictures.shape[-2], sigma) @ pictures @ _gaussian(pictures.shape[-1], sigma)


def _gaussian(size: int, sigma: float) -> Tensor:
    """(size, size): what each of a row's pixels counts in the blur of each other one."""
    reach = round(3 * sigma)
    apart = torch.arange(size)[:, None] - torch.arange(size)
    weights = torch.exp(-((apart / sigma) ** 2) / 2).masked_fill(apart.abs() > reach, 0)
    return weights / torch.exp(-((torch.arange(-reach, reach + 1) / sigma) ** 2) / 2).sum()


def _signed(frames: Tensor) -> Tensor:
    """uint8 to [-1, 1]."""
    return frames.to(torch.float32) / 127.5 - 1


def as_bytes(signed: Tensor) -> Tensor:
    """[-1, 1] to uint8."""
    return ((signed + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _gain_and_offset(frame: Tensor, picture: Tensor) -> tuple[Tensor, Tensor]:
    """(3,) each: gain * frame + offset has the picture's mean and standard deviation in every channel."""
    mean, wanted = frame.mean((1, 2)), picture.mean((1, 2))
    spread, wanted_spread = frame.std((1, 2)), picture.std((1, 2))
    gain = torch.where(spread > SMALLEST_SPREAD, wanted_spread / spread.clamp_min(SMALLEST_SPREAD), 1.0)
    return gain, wanted - gain * mean
