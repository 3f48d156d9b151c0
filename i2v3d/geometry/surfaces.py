"""What a frame shows as surfaces in space: points, normals, and what casts shadows on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from i2v3d.geometry.cameras import Array, ArrayLike, pixel_centres, unproject
from i2v3d.images import Mask


@dataclass(frozen=True, eq=False)
class Surfaces:
    """Of one frame. points (H, W, 3) in world axes and metres, not finite where nothing is seen; normals (H, W, 3)
    unit, towards the camera, 0 where depth does not tell; foreground (H, W) bool; distance_m (H, W) from the camera,
    inf for nothing; casters (M, 3): points on all of the foreground's surface, which casts shadows, or none."""

    points: Array
    normals: Array
    foreground: Mask
    distance_m: Array
    casters: Array

    @classmethod
    def of(
        cls, depth_m: ArrayLike, foreground: Mask, K: ArrayLike, w2c: ArrayLike, casters: ArrayLike
    ) -> Surfaces:
        """From planar depth (H, W), inf for nothing. K: (3, 3) in pixels; w2c: (4, 4), OpenCV axes."""
        depth_m, w2c = np.asarray(depth_m, dtype=np.float64), np.asarray(w2c, dtype=np.float64)
        height, width = depth_m.shape
        eye = np.linalg.inv(w2c)[:3, 3]
        with np.errstate(invalid="ignore", over="ignore"):
            points = unproject(pixel_centres(width, height), depth_m, K, w2c)
            distance_m = np.linalg.norm(points - eye, axis=-1)
        distance_m = np.where(np.isfinite(depth_m), distance_m, np.inf)
        normals = _normals(points, foreground, eye)
        return cls(points, normals, foreground, distance_m, np.asarray(casters, dtype=np.float64))


def _normals(points: Array, foreground: Mask, eye: Array) -> Array:
    """(H, W, 3) unit normals towards the eye; 0 where depth does not tell.

    Differences of the surface's points to the nearer neighbour of either side in x and y, never across the
    foreground's outline.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        along, down = (_step(points, foreground, axis) for axis in (1, 0))
        normals = np.cross(along, down)
        lengths = np.linalg.norm(normals, axis=-1, keepdims=True)
        known = np.isfinite(lengths) & (lengths > 0)
        normals = np.where(known, normals / np.where(known, lengths, 1), 0)
        away = np.where(known[..., 0], ((eye - points) * normals).sum(-1), 0) < 0
    return np.where(away[..., None], -normals, normals)


def _step(points: Array, foreground: Mask, axis: int) -> Array:
    """(H, W, 3) to the next point along an axis, or from the one before where that is nearer or the only one of the
    same side; NaN where there is neither."""
    ahead = np.diff(points, axis=axis)
    same = np.diff(foreground.astype(np.int8), axis=axis) == 0
    ahead = np.where(same[..., None], ahead, np.nan)
    gap = np.full_like(points[:, :1] if axis else points[:1], np.nan)
    after, before = np.concatenate([ahead, gap], axis=axis), np.concatenate([gap, ahead], axis=axis)
    lengths = [np.nan_to_num(np.linalg.norm(step, axis=-1), nan=np.inf) for step in (after, before)]
    return np.where((lengths[0] <= lengths[1])[..., None], after, before)
