"""Pinhole cameras, rigid poses, depth conversions and the flow of a static scene.

Conventions, everywhere in this package:

* World axes are right-handed with z up, in metres. Camera axes are OpenCV's: x right, y down, z forward.
* `K` is a 3 x 3 intrinsic matrix in pixels; pixel (i, j) covers [i, i+1) x [j, j+1), centre (i+.5, j+.5).
* `w2c` maps world points to camera points (4 x 4); its inverse is the camera's pose, `c2w`.
* Depth is planar: the camera-space z in metres, not the distance along the ray; inf where nothing is hit.

Source: Hartley and Zisserman, Multiple View Geometry, chapter 6. All functions work in float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from i2v3d.errors import ShapeError

Array = npt.NDArray[np.float64]
ArrayLike = npt.ArrayLike


# ---------------------------------------------------------------- intrinsics
def intrinsics(focal_px: float, cx_px: float, cy_px: float) -> Array:
    """K (3, 3) of a camera with square pixels: focal length and principal point in pixels."""
    if not np.isfinite([focal_px, cx_px, cy_px]).all() or focal_px <= 0:
        raise ShapeError(
            f"intrinsics need a positive focal length and a finite principal point, got focal {focal_px}, "
            f"centre ({cx_px}, {cy_px}) pixels; check the camera"
        )
    return np.array([[focal_px, 0.0, cx_px], [0.0, focal_px, cy_px], [0.0, 0.0, 1.0]])


def focal_from_fov(fov_deg: float, size_px: float) -> float:
    """Focal length in pixels of a field of view (degrees) that spans `size_px` pixels."""
    return float(size_px / (2.0 * np.tan(np.radians(fov_deg) / 2.0)))


def fov_from_focal(focal_px: float, size_px: float) -> float:
    """Field of view in degrees that `size_px` pixels span at a focal length in pixels."""
    return float(2.0 * np.degrees(np.arctan2(size_px, 2.0 * focal_px)))


# ---------------------------------------------------------------- rigid motions
def translation(offset_m: ArrayLike) -> Array:
    """(4, 4) motion that adds `offset_m` (3,)."""
    motion = np.eye(4)
    motion[:3, 3] = offset_m
    return motion


def rotation(axis: ArrayLike, angle_deg: float) -> Array:
    """(3, 3) right-handed rotation by `angle_deg` about `axis` (3,), of any length but zero.

    Raises ShapeError for a zero axis. Source: Rodrigues' formula.
    """
    unit = _unit(axis, "rotation axis")
    angle = np.radians(angle_deg)
    cross = np.array([[0, -unit[2], unit[1]], [unit[2], 0, -unit[0]], [-unit[1], unit[0], 0]])
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)


def rotation_about(pivot_m: ArrayLike, axis: ArrayLike, angle_deg: float) -> Array:
    """(4, 4) motion that rotates the world about the line through `pivot_m` (3,) along `axis` (3,)."""
    motion = np.eye(4)
    motion[:3, :3] = rotation(axis, angle_deg)
    return translation(pivot_m) @ motion @ translation(-np.asarray(pivot_m, dtype=np.float64))


def invert_pose(pose: ArrayLike) -> Array:
    """Inverse of rigid motions (..., 4, 4): w2c from c2w and back, without a general matrix inverse."""
    pose = np.asarray(pose, dtype=np.float64)
    inverse = np.zeros_like(pose)
    inverse[..., :3, :3] = np.swapaxes(pose[..., :3, :3], -1, -2)
    inverse[..., :3, 3] = -np.einsum("...ij,...j->...i", inverse[..., :3, :3], pose[..., :3, 3])
    inverse[..., 3, 3] = 1.0
    return inverse


def look_at(eye_m: ArrayLike, target_m: ArrayLike, up: ArrayLike = (0.0, 0.0, 1.0)) -> Array:
    """c2w (4, 4) of a camera at `eye_m` that sees `target_m` at its principal point, `up` pointing up.

    Raises ShapeError if eye and target coincide or the view direction is parallel to `up`.
    """
    eye = np.asarray(eye_m, dtype=np.float64)
    forward = _unit(np.asarray(target_m, dtype=np.float64) - eye, "view direction (target - eye)")
    right = _unit(np.cross(forward, np.asarray(up, dtype=np.float64)), "cross product of view and up")
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = right, np.cross(forward, right), forward, eye
    return pose


# ---------------------------------------------------------------- points and pixels
def pixel_centres(width: int, height: int) -> Array:
    """(H, W, 2) image coordinates (x, y) of all pixel centres: (i+.5, j+.5)."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.stack([x, y], axis=-1)


def transform(matrix: ArrayLike, points_m: ArrayLike) -> Array:
    """Applies an affine motion (4, 4) to points (..., 3)."""
    matrix = np.asarray(matrix, dtype=np.float64)
    return np.asarray(points_m, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def project(points_m: ArrayLike, K: ArrayLike, w2c: ArrayLike) -> tuple[Array, Array]:
    """Image coordinates (..., 2) in pixels and planar depth (...) in metres of world points (..., 3).

    Points in the plane of the camera or behind it get NaN coordinates; their depth tells which (<= 0).
    """
    camera = transform(w2c, points_m)
    depth = camera[..., 2]
    image = camera @ np.asarray(K, dtype=np.float64).T
    in_front = depth > 0
    divisor = np.where(in_front, depth, 1.0)[..., None]
    return np.where(in_front[..., None], image[..., :2] / divisor, np.nan), depth


def camera_rays(pixels: ArrayLike, K: ArrayLike) -> Array:
    """Ray directions (..., 3) of image coordinates (..., 2) in camera axes, scaled to z = 1."""
    pixels = np.asarray(pixels, dtype=np.float64)
    homogeneous = np.concatenate([pixels, np.ones_like(pixels[..., :1])], axis=-1)
    return homogeneous @ np.linalg.inv(np.asarray(K, dtype=np.float64)).T


def unproject(pixels: ArrayLike, depth_m: ArrayLike, K: ArrayLike, w2c: ArrayLike) -> Array:
    """World points (..., 3) at planar depth (...) metres on the rays of image coordinates (..., 2).

    Inverse of `project`. The depth must be finite for a finite point.
    """
    depth_m = np.asarray(depth_m, dtype=np.float64)
    return transform(invert_pose(w2c), camera_rays(pixels, K) * depth_m[..., None])


# ---------------------------------------------------------------- depth maps
def ray_distance_from_depth(depth_m: ArrayLike, K: ArrayLike) -> Array:
    """Distance along the ray (H, W) from planar depth (H, W), both in metres; inf stays inf."""
    depth = _depth_map(depth_m)
    return depth * _ray_lengths(depth, K)


def depth_from_ray_distance(distance_m: ArrayLike, K: ArrayLike) -> Array:
    """Planar depth (H, W) from the distance along the ray (H, W), both in metres; inf stays inf."""
    distance = _depth_map(distance_m)
    return distance / _ray_lengths(distance, K)


def disparity_from_depth(depth_m: ArrayLike) -> Array:
    """1 / depth in 1/metres, of the same shape: near is large, 0 where the depth is inf.

    Raises ShapeError if a depth is NaN, zero or negative.
    """
    depth = np.asarray(depth_m, dtype=np.float64)
    if not (depth > 0).all():
        raise ShapeError("depth holds NaN or values that are not positive; re-run the render that wrote it")
    return 1.0 / depth


def reprojection_flow(
    depth_m: ArrayLike, K: ArrayLike, w2c: ArrayLike, next_K: ArrayLike, next_w2c: ArrayLike
) -> Array:
    """Optical flow (H, W, 2) in pixels, x right and y down, that a camera change causes in a static scene.

    depth_m: planar depth (H, W) seen by the first camera. Where it is inf the point lies at infinity and
    only the rotation moves it. NaN where a point leaves to behind the second camera. Occlusion is ignored.
    """
    depth = _depth_map(depth_m)
    height, width = depth.shape
    pixels = pixel_centres(width, height)
    rays = camera_rays(pixels, K)
    to_next = np.asarray(next_w2c, dtype=np.float64) @ invert_pose(w2c)
    inverse_depth = np.where(np.isinf(depth), 0.0, 1.0 / depth)[..., None]
    # The second camera's ray, divided by the depth in the first one, so that infinity needs no special case.
    scaled = rays @ to_next[:3, :3].T + inverse_depth * to_next[:3, 3]
    moved, _ = project(scaled, next_K, np.eye(4))
    return moved - pixels


def _depth_map(depth_m: ArrayLike) -> Array:
    depth = np.asarray(depth_m, dtype=np.float64)
    if depth.ndim != 2:
        raise ShapeError(f"a depth map has shape (H, W), got {_shape(depth.shape)}")
    return depth


def _ray_lengths(depth: Array, K: ArrayLike) -> Array:
    """(H, W) length of the rays through the pixel centres that reach z = 1."""
    height, width = depth.shape
    return np.linalg.norm(camera_rays(pixel_centres(width, height), K), axis=-1)


def _unit(vector: ArrayLike, what: str) -> Array:
    vector = np.asarray(vector, dtype=np.float64)
    length = np.linalg.norm(vector)
    if not np.isfinite(length) or length < 1e-12:
        raise ShapeError(f"the {what} is {vector.tolist()}, which has no direction")
    return vector / length


def _shape(shape: Sequence[int]) -> str:
    return "x".join(str(n) for n in shape) or "a scalar"
