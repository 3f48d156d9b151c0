"""How a video behaves in time: steps between frames, seams between segments, drift of its colours."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from i2v3d.errors import ShapeError
from i2v3d.geometry.checks import check_pictures

SMALLEST_STEP = 1e-4  # of pictures in [0, 1]: below rounding to 8 bits


def frame_steps(pictures: Tensor) -> Tensor:
    """(T - 1,) mean absolute difference of neighbouring frames. Raises ShapeError for fewer than 2 frames."""
    check_pictures(pictures=pictures)
    if len(pictures) < 2:
        raise ShapeError("pictures hold one frame; steps between frames need at least 2")
    return pictures.diff(dim=0).abs().mean((1, 2, 3))


def temporal_flickering(pictures: Tensor) -> float:
    """1 minus the mean step between frames: 1 for a still. Source: VBench, 'temporal flickering'."""
    return 1 - float(frame_steps(pictures).mean())


def seam_jump(steps: Tensor, seams: Sequence[int]) -> float | None:
    """The largest step at a seam as a multiple of the median of the other steps; None without a seam.

    steps (T - 1,): step t leads from frame t to t + 1, counted from 0 (`frame_steps`, or roots of
    `warping_error`). seams: the steps at which another segment takes over. Raises ShapeError for a seam that
    does not exist, no step beside the seams, or NaN.
    """
    if steps.ndim != 1 or not bool(torch.isfinite(steps).all()):
        raise ShapeError(f"steps are {tuple(steps.shape)}; expected (T - 1,), finite")
    if not seams:
        return None
    others = [t for t in range(len(steps)) if t not in seams]
    if not others or not all(0 <= seam < len(steps) for seam in seams):
        raise ShapeError(f"seams {list(seams)} do not lie among {len(steps)} steps with others beside them")
    usual = max(float(np.median(steps[others].numpy())), SMALLEST_STEP)
    return float(steps[list(seams)].max()) / usual


def colour_drift(pictures: Tensor, reference: Tensor) -> Tensor:
    """(T,) how far a frame's mean colour has moved from the first frame's, beyond what the reference does.

    reference: pictures of equal length and size that show the same motion, such as the coarse render. Colours
    are CIE L*a*b* under D65; the unit is Delta E (CIE 1976), of which 2.3 is just noticeable. Raises
    ShapeError as `check_pictures`.
    """
    check_pictures(pictures=pictures, reference=reference)
    moved = (_mean_lab(video) - _mean_lab(video)[:1] for video in (pictures, reference))
    own, expected = moved
    return torch.from_numpy(np.linalg.norm(own - expected, axis=1))


def _mean_lab(pictures: Tensor) -> np.ndarray:
    """(T, 3) mean L*, a*, b* of each frame."""
    frames = pictures.permute(0, 2, 3, 1).contiguous().float().numpy()
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2LAB).mean((0, 1)) for frame in frames]).astype(
        np.float64
    )
