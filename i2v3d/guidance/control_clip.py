"""The control clip of a backbone that fills in video: what is known of every pixel of a segment, and where it ends.

Shapes: F frames, (H, W) pixels. Pictures are in [-1, 1], so 0 is the exact mid grey that stands for "unknown".
Source: VACE (Jiang et al., 2025), sections on the unified input and on its tasks; polarity as in its released code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from i2v3d.errors import ShapeError

GREY = 0.0  # of what nobody knows
GENERATE, KEEP = 1.0, 0.0


@dataclass(frozen=True)
class ControlClip:
    """video: (F, 3, H, W) in [-1, 1], the known pictures where `mask` keeps them and the control or grey elsewhere.
    mask: (F, 1, H, W), 1 where the model generates and 0 where it keeps. reference: (3, H, W) in [-1, 1] of what
    the video shows, or None."""

    video: Tensor
    mask: Tensor
    reference: Tensor | None

    def __post_init__(self) -> None:
        frames, _, height, width = self.video.shape if self.video.ndim == 4 else (0, 0, 0, 0)
        if self.video.shape != (frames, 3, height, width) or self.mask.shape != (frames, 1, height, width):
            raise ShapeError(
                f"the control video is {tuple(self.video.shape)} and its mask {tuple(self.mask.shape)}; expected "
                "(F, 3, H, W) and (F, 1, H, W) of the same frames and size"
            )
        if not bool(((self.mask == KEEP) | (self.mask == GENERATE)).all()):
            raise ShapeError("the mask of a control clip holds other values than 0 (keep) and 1 (generate)")
        if float(self.video.abs().amax()) > 1:
            raise ShapeError("the control video leaves [-1, 1]; give pictures as 2 * rgb - 1")
        if self.reference is not None and self.reference.shape != (3, height, width):
            raise ShapeError(
                f"the reference is {tuple(self.reference.shape)}; expected {(3, height, width)}, as the video"
            )


@dataclass(frozen=True)
class Background:
    """Pixels that are known beside whole frames. rgb: (F, 3, H, W) in [-1, 1]; known: (F, H, W) bool."""

    rgb: Tensor
    known: Tensor


def control_clip(
    size: tuple[int, int, int],
    control: Tensor | None,
    known: Mapping[int, Tensor],
    background: Background | None = None,
    reference: Tensor | None = None,
) -> ControlClip:
    """A clip of `size` (F, H, W) in which the frames `known` are kept and all else is generated under `control`.

    control: (F, 3, H, W) in [-1, 1], or None for grey. known: position from 0, negative ones from the end, -> picture
    (3, H, W) in [-1, 1]. background: pixels that are kept in all other frames. Raises ShapeError if something has
    another size or a position lies outside the clip.
    """
    frames, height, width = size
    video = torch.full((frames, 3, height, width), GREY) if control is None else control.float().clone()
    if video.shape != (frames, 3, height, width):
        raise ShapeError(f"the control is {tuple(video.shape)}; expected {(frames, 3, height, width)}")
    mask = torch.full((frames, 1, height, width), GENERATE)
    if background is not None:
        if background.rgb.shape != video.shape or background.known.shape != (frames, height, width):
            raise ShapeError(
                f"the background is {tuple(background.rgb.shape)}, known in {tuple(background.known.shape)}; "
                f"expected {tuple(video.shape)} and {(frames, height, width)}"
            )
        kept = background.known[:, None]
        video = torch.where(kept, background.rgb, video)
        mask = torch.where(kept, KEEP, mask)
    for position, picture in known.items():
        if not -frames <= position < frames or picture.shape != (3, height, width):
            raise ShapeError(
                f"the known picture at {position} is {tuple(picture.shape)}; expected {(3, height, width)} and a "
                f"position of {frames} frames"
            )
        video[position], mask[position] = picture, KEEP
    return ControlClip(video, mask, reference)


def pasted(frames: Tensor, clip: ControlClip, whole_frames_only: bool) -> Tensor:
    """Generated frames (F, 3, H, W) in [-1, 1] with what was known put back: the autoencoder changes kept pixels.

    whole_frames_only: pixels of frames that are kept in part stay as generated, so that no edge shows at the mask.
    """
    kept = clip.mask == KEEP
    if whole_frames_only:
        kept = kept.flatten(1).all(1)[:, None, None, None]
    return torch.where(kept.to(frames.device), clip.video.to(frames), frames)
