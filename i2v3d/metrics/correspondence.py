"""Where each pixel of a frame is in the next one, from the render's exact flow, depth and cameras."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from i2v3d.errors import ShapeError
from i2v3d.geometry import Array, invert_pose, pixel_centres
from i2v3d.metrics.checks import check_depths, check_flow, check_masks

DEPTH_TOLERANCE = 0.03  # relative; a point whose depth differs by more is hidden by something else


def warp_back(pictures: Tensor, flow_px: Tensor) -> Tensor:
    """Each next frame as seen from the frame before: (T - 1, 3, H, W), pixel p from p + flow, bilinear.

    Raises ShapeError as `check_flow`. What comes from outside the frame is its nearest border.
    """
    check_flow(pictures, flow_px)
    height, width = pictures.shape[-2:]
    place = torch.from_numpy(pixel_centres(width, height)).to(flow_px) + flow_px
    grid = place * (2 / torch.tensor([width, height]).to(place)) - 1
    return functional.grid_sample(
        pictures[1:], grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def unoccluded(flow_px: Tensor, depth_m: Tensor, foreground: Tensor, lenses: Array, poses: Array) -> Tensor:
    """(T - 1, H, W) bool: pixels of each frame whose point is seen in the next frame, too.

    flow_px (T - 1, H, W, 2), depth_m (T, H, W), foreground (T, H, W) of the render; lenses (T, 3, 3), poses
    (T, 4, 4) world to camera. A pixel counts if all four pixels around its place in the next frame show the same
    kind of surface (foreground or not) at the depth that its point has there: computed from the cameras for the
    static background; for the foreground, whose own motion the passes do not tell, the depth it had. Raises
    ShapeError if shapes differ.
    """
    check_depths(depth_m=depth_m)
    check_masks(depth_m[:, None].expand(-1, 3, -1, -1), foreground=foreground)
    check_flow(depth_m[:, None], flow_px)
    if lenses.shape != (len(depth_m), 3, 3) or poses.shape != (len(depth_m), 4, 4):
        raise ShapeError(f"cameras are {lenses.shape}, {poses.shape}; {len(depth_m)} frames need one each")
    valid = [
        _seen_next(flow_px[t], depth_m[t : t + 2], foreground[t : t + 2], lenses[t], poses[t : t + 2])
        for t in range(len(flow_px))
    ]
    return torch.stack(valid)


def _seen_next(flow_px: Tensor, depth_m: Tensor, foreground: Tensor, lens: Array, poses: Array) -> Tensor:
    height, width = depth_m.shape[-2:]
    finite = torch.isfinite(depth_m[0])
    expected = torch.where(foreground[0], depth_m[0], _depth_next(depth_m[0], lens, poses))
    place = torch.from_numpy(pixel_centres(width, height)).to(flow_px) + flow_px - 0.5
    corner = place.floor().long()
    x, y = corner.unbind(-1)
    inside = (x >= 0) & (y >= 0) & (x + 1 < width) & (y + 1 < height)
    seen = finite & inside
    for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = (x + right).clamp(0, width - 1), (y + down).clamp(0, height - 1)
        there = depth_m[1][row, column]
        near = (there - expected).abs() <= DEPTH_TOLERANCE * expected
        seen = seen & near & (foreground[1][row, column] == foreground[0])
    return seen


def _depth_next(depth_m: Tensor, lens: Array, poses: Array) -> Tensor:
    """(H, W) depth in the next camera of the points of a frame, as if nothing but the camera moved."""
    height, width = depth_m.shape
    pixels = pixel_centres(width, height)
    rays = np.concatenate([pixels, np.ones((height, width, 1))], axis=-1) @ np.linalg.inv(lens).T
    depth = depth_m.double().numpy()
    points = rays * np.where(np.isfinite(depth), depth, 1.0)[..., None]
    motion = poses[1] @ invert_pose(poses[0])
    following = points @ motion[2, :3] + motion[2, 3]
    return torch.from_numpy(np.where(np.isfinite(depth), following, np.inf)).to(depth_m)
