"""Metric depth to the picture that a depth ControlNet was trained on: disparity, near is bright."""

from __future__ import annotations

import math
from typing import Literal

import torch

from i2v3d.errors import ShapeError


def disparity_conditioning(
    depth_m: torch.Tensor, mode: Literal["shot", "frame"], depth_range_m: tuple[float, float]
) -> torch.Tensor:
    """Planar depth (T, H, W) in metres, inf where nothing is seen -> conditioning (T, H, W) in [0, 1].

    "shot": disparity scaled by one range for the whole shot, depth_range_m = (near, far) in metres, so that
    a still object keeps its brightness: near -> 1, far -> 0, beyond far or nothing -> 0.
    "frame": disparity scaled by each frame's own minimum and maximum, as the released code's 8-bit maps
    are, which breathe in time; depth_range_m is not used. Raises ShapeError for other shapes, depths that
    are not positive, or a range that is not 0 < near <= far.
    """
    if depth_m.ndim != 3 or not bool((depth_m > 0).all()):
        raise ShapeError(f"depth is {tuple(depth_m.shape)}; expected (T, H, W), in metres and positive")
    disparity = 1.0 / depth_m.to(torch.float32)
    if mode == "shot":
        near, far = depth_range_m
        if not 0 < near <= far < math.inf:
            raise ShapeError(f"the shot's depth range is {near} to {far} m; expected 0 < near <= far")
        low, high = torch.tensor(1.0 / far), torch.tensor(1.0 / near)
    else:
        seen = torch.isfinite(depth_m)
        low = torch.where(seen, disparity, math.inf).amin((1, 2), keepdim=True)
        high = torch.where(seen, disparity, 0.0).amax((1, 2), keepdim=True)
        low = torch.where(torch.isfinite(low), low, 0.0)
    # A fronto-parallel plane, or an empty frame, has no spread: what is seen is then as near as it gets.
    spread = (high - low).clamp_min(torch.finfo(torch.float32).tiny)
    scaled = torch.where(high > low, (disparity - low) / spread, torch.ones_like(disparity))
    return torch.where(torch.isfinite(depth_m), scaled, 0.0).clamp(0.0, 1.0)
