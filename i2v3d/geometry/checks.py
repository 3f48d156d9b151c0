"""What every score asks of its arrays, so that a wrong comparison is an error and not a number.

Shapes: T frames, (H, W) pixels. Pictures (T, 3, H, W) float in [0, 1], sRGB; masks (T, H, W) bool; planar
depth (T, H, W) in metres, inf where nothing is seen; flow (T - 1, H, W, 2) in pixels, x right, y down.
"""

from __future__ import annotations

import torch
from torch import Tensor

from i2v3d.errors import ShapeError

RANGE_SLACK = 1e-4  # of pictures, for rounding


def check_pictures(**pictures: Tensor) -> None:
    """Raises ShapeError unless all are pictures (T, 3, H, W) of one size and length, finite, in [0, 1]."""
    first_name, first = next(iter(pictures.items()))
    for name, value in pictures.items():
        if value.ndim != 4 or value.shape[1] != 3 or not value.is_floating_point() or len(value) == 0:
            raise ShapeError(
                f"{name} is {tuple(value.shape)} {value.dtype}; expected pictures (T, 3, H, W), floats, T >= 1"
            )
        if value.shape != first.shape:
            raise ShapeError(
                f"{name} has {_frames(value)} but {first_name} {_frames(first)}; compare equal lengths and sizes"
            )
        if not bool(torch.isfinite(value).all()):
            raise ShapeError(f"{name} holds NaN or infinity; every pixel must be a number in [0, 1]")
        low, high = (float(bound) for bound in torch.aminmax(value))
        if low < -RANGE_SLACK or high > 1 + RANGE_SLACK:
            raise ShapeError(
                f"{name} ranges over [{low:g}, {high:g}]; expected [0, 1], divide 8-bit values by 255"
            )


def check_masks(pictures: Tensor | None = None, **masks: Tensor) -> None:
    """Raises ShapeError unless all are bool (T, H, W) of one shape: that of `pictures`, if they are given."""
    first_name = "pictures"
    shape: tuple[int, ...] | None = None if pictures is None else _frame_shape(pictures)
    for name, value in masks.items():
        if value.ndim != 3 or value.dtype != torch.bool:
            raise ShapeError(f"{name} is {tuple(value.shape)} {value.dtype}; expected masks (T, H, W), bool")
        if shape is None:
            first_name, shape = name, tuple(value.shape)
        if tuple(value.shape) != shape:
            raise ShapeError(
                f"{name} is {tuple(value.shape)} but {first_name} has frames {shape}; compare equal ones"
            )


def check_depths(**depths_m: Tensor) -> None:
    """Raises ShapeError unless all are depths (T, H, W) of one shape, positive, without NaN (inf is allowed)."""
    first_name, first = next(iter(depths_m.items()))
    for name, value in depths_m.items():
        if value.ndim != 3 or not value.is_floating_point():
            raise ShapeError(
                f"{name} is {tuple(value.shape)} {value.dtype}; expected depths (T, H, W), floats"
            )
        if value.shape != first.shape:
            raise ShapeError(
                f"{name} is {tuple(value.shape)} but {first_name} {tuple(first.shape)}; compare equal ones"
            )
        if bool(torch.isnan(value).any()) or bool((value <= 0).any()):
            raise ShapeError(
                f"{name} holds NaN or depths that are not positive; expected metres, inf for nothing"
            )


def check_flow(pictures: Tensor, flow_px: Tensor) -> None:
    """Raises ShapeError unless the flow is (T - 1, H, W, 2), finite, for pictures (T, 3, H, W), T >= 2."""
    frames, height, width = _frame_shape(pictures)
    if frames < 2:
        raise ShapeError("pictures hold one frame; what happens between frames needs at least 2")
    if tuple(flow_px.shape) != (frames - 1, height, width, 2):
        raise ShapeError(
            f"flow_px is {tuple(flow_px.shape)}; {frames} frames of {width}x{height} need "
            f"{(frames - 1, height, width, 2)}"
        )
    if not bool(torch.isfinite(flow_px).all()):
        raise ShapeError("flow_px holds NaN or infinity; write 0 where nothing is seen")


def check_vectors(**vectors: Tensor) -> None:
    """Raises ShapeError unless all are (N, D), finite, of one width D, and none of the rows is zero."""
    first_name, first = next(iter(vectors.items()))
    for name, value in vectors.items():
        if value.ndim != 2 or value.shape[1] != first.shape[-1]:
            raise ShapeError(
                f"{name} is {tuple(value.shape)} but {first_name} {tuple(first.shape)}; expected (N, D), one D"
            )
        if not bool(torch.isfinite(value).all()) or bool((value.norm(dim=1) == 0).any()):
            raise ShapeError(f"{name} holds NaN, infinity or a zero vector, which have no direction")


def _frame_shape(pictures: Tensor) -> tuple[int, int, int]:
    return int(pictures.shape[0]), int(pictures.shape[2]), int(pictures.shape[3])


def _frames(pictures: Tensor) -> str:
    frames, height, width = _frame_shape(pictures)
    return f"{frames} frames of {width}x{height}"
