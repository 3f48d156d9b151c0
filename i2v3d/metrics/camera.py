"""Whether a video's own points move as the prescribed camera says: its pose from points tracked in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from i2v3d.errors import ShapeError
from i2v3d.geometry.cameras import Array, invert_pose
from i2v3d.geometry.checks import check_depths, check_masks, check_pictures

MOST_CORNERS = 400
FEWEST_POINTS = 16  # that a pose is computed from
CORNER_QUALITY = 0.01  # of the strongest corner's response
BACK_AGAIN_PX = 0.5  # a point tracked forward and back must return this near
REPROJECTION_PX = 1.5  # inliers of the pose


@dataclass(frozen=True)
class CameraErrors:
    """(T,) each: degrees of rotation and metres of position between the pose that the tracked points give and
    the prescribed one; NaN for the first frame, and where too few points could be followed."""

    rotation_deg: NDArray[np.float64]
    position_m: NDArray[np.float64]


def camera_errors(
    pictures: Tensor, depth_m: Tensor, foreground: Tensor, lenses: Array, poses: Array
) -> CameraErrors:
    """Tracks corners of the first frame's background and solves for the camera of every later frame.

    pictures (T, 3, H, W) in [0, 1]; depth_m (H, W) and foreground (H, W) of the first frame's render, which
    place the corners in space; lenses (T, 3, 3); poses (T, 4, 4), world to camera. Raises ShapeError if shapes
    differ. Pyramidal Lucas-Kanade tracking, checked backwards; RANSAC over perspective-n-point (OpenCV).
    """
    check_pictures(pictures=pictures)
    check_depths(depth_m=depth_m[None])
    check_masks(pictures[:1], foreground=foreground[None])
    if lenses.shape != (len(pictures), 3, 3) or poses.shape != (len(pictures), 4, 4):
        raise ShapeError(f"cameras are {lenses.shape}, {poses.shape}; {len(pictures)} frames need one each")
    grey = [
        cv2.cvtColor((frame.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8), cv2.COLOR_RGB2GRAY)
        for frame in pictures
    ]
    allowed = (~foreground & depth_m.isfinite()).numpy().astype(np.uint8)
    allowed = cv2.erode(allowed, np.ones((5, 5), np.uint8))
    places = cv2.goodFeaturesToTrack(grey[0], MOST_CORNERS, CORNER_QUALITY, 4, mask=allowed)
    errors = np.full((2, len(pictures)), np.nan)
    if places is not None:
        points = _in_space(places[:, 0], depth_m.double().numpy(), lenses[0], poses[0])
        for t in range(1, len(grey)):
            places, kept = _follow(grey[t - 1], grey[t], places)
            points = points[kept]
            if len(points) < FEWEST_POINTS:
                break
            errors[:, t] = _pose_error(points, places[:, 0], lenses[t], poses[t])
    return CameraErrors(*errors)


def _in_space(places: NDArray[np.float32], depth_m: Array, lens: Array, pose: Array) -> Array:
    """World points (N, 3) of places in the first picture; OpenCV's pixel (0, 0) is centred on (0.5, 0.5)."""
    column, row = places.round().astype(int).T
    depth = depth_m[row, column]
    rays = np.concatenate([places + 0.5, np.ones((len(places), 1))], axis=1) @ np.linalg.inv(lens).T
    world = invert_pose(pose)
    points: Array = (rays * depth[:, None]) @ world[:3, :3].T + world[:3, 3]
    return points


def _follow(
    before: NDArray[np.uint8], after: NDArray[np.uint8], places: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The places (M, 1, 2) that could be followed, and which of the old ones (N,) they are."""
    track: Any = partial(cv2.calcOpticalFlowPyrLK, nextPts=None, winSize=(15, 15), maxLevel=3)
    there, found, _ = track(before, after, places)
    back, returned, _ = track(after, before, there)
    astray = np.linalg.norm((back - places)[:, 0], axis=1)
    kept = (found[:, 0] == 1) & (returned[:, 0] == 1) & (astray < BACK_AGAIN_PX)
    return there[kept], kept


def _pose_error(points: Array, places: NDArray[np.float32], lens: Array, pose: Array) -> tuple[float, float]:
    """Degrees and metres between the pose that explains the places and `pose`; NaN if none does."""
    cv2.setRNGSeed(0)
    # Starts from the prescribed pose, so that a plane's second solution is not taken for an error.
    start = cv2.Rodrigues(pose[:3, :3])[0], pose[:3, 3:].copy()
    solved, turn, shift, inliers = cv2.solvePnPRansac(
        points,
        places.astype(np.float64) + 0.5,
        lens,
        None,
        *start,
        useExtrinsicGuess=True,
        reprojectionError=REPROJECTION_PX,
        flags=cv2.SOLVEPNP_ITERATIVE,
    )
    if not solved or inliers is None or len(inliers) < FEWEST_POINTS:
        return float("nan"), float("nan")
    rotation = cv2.Rodrigues(turn)[0]
    angle = np.linalg.norm(cv2.Rodrigues(rotation @ pose[:3, :3].T)[0])
    centre, expected = -rotation.T @ shift[:, 0], -pose[:3, :3].T @ pose[:3, 3]
    return float(np.degrees(angle)), float(np.linalg.norm(centre - expected))
