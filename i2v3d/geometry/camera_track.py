"""Cameras of a whole shot as arrays: what every file format of cameras is read into and written from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from i2v3d.errors import InputError
from i2v3d.geometry.cameras import Array, invert_pose

RIGID_TOLERANCE = 1e-3  # files round their numbers; such a rotation is made exact
ASPECT_TOLERANCE_PX = 1.0


@dataclass(frozen=True)
class CameraTrack:
    """Cameras of T frames. K: (T, 3, 3) in pixels of width x height. c2w: (T, 4, 4), OpenCV camera axes.

    numbers: the frame of each, ascending, if the file says so; None: one after another.
    """

    width: int
    height: int
    K: Array
    c2w: Array
    numbers: tuple[int, ...] | None = None

    @property
    def frames(self) -> int:
        """How many cameras there are, T."""
        return len(self.c2w)

    @property
    def w2c(self) -> Array:
        """World to camera, (T, 4, 4)."""
        return invert_pose(self.c2w)

    def resized(self, width: int, height: int) -> CameraTrack:
        """The same cameras for pictures of another size. Raises InputError if the aspect differs."""
        if abs(self.height * width / self.width - height) > ASPECT_TOLERANCE_PX:
            raise InputError(
                f"the cameras are for {self.width}x{self.height} pictures but the scene is {width}x{height}; "
                "give the scene that aspect"
            )
        scale = np.diag([width / self.width, height / self.height, 1.0])
        return replace(self, width=width, height=height, K=scale @ self.K)


def checked_track(
    path: Path, width: int, height: int, K: Array, c2w: Array, numbers: Sequence[int] | None = None
) -> CameraTrack:
    """A track from numbers of a file, with rotations made exact.

    Raises InputError, naming the camera (counted from 1), unless every one is finite, has a positive focal
    length and a right-handed rotation within `RIGID_TOLERANCE`.
    """
    if len(c2w) == 0 or min(width, height) < 1:
        raise InputError(f"camera file {path} has {len(c2w)} cameras of {width}x{height}; expected some")
    if K.shape != (len(c2w), 3, 3) or c2w.shape != (len(c2w), 4, 4):
        raise InputError(f"camera file {path} has poses of {c2w.shape[1:]} numbers; expected 4 x 4, or 3 x 4")
    poses = np.tile(np.eye(4), (len(c2w), 1, 1))
    for number, (intrinsic, pose) in enumerate(zip(K, c2w, strict=True), start=1):
        where = f"camera {number} of {path}"
        if not (np.isfinite(intrinsic).all() and np.isfinite(pose).all()):
            raise InputError(f"{where} is not finite; export it again")
        if min(intrinsic[0, 0], intrinsic[1, 1]) <= 0:
            raise InputError(f"{where} has a focal length that is not positive; export it again")
        u, sizes, v = np.linalg.svd(pose[:3, :3])
        if np.abs(sizes - 1).max() > RIGID_TOLERANCE or np.linalg.det(pose[:3, :3]) < 0:
            raise InputError(f"{where} is no rotation and translation; export it without scale or mirroring")
        poses[number - 1, :3, :3], poses[number - 1, :3, 3] = u @ v, pose[:3, 3]
    ordered = None if numbers is None else tuple(numbers)
    return CameraTrack(width, height, np.asarray(K, dtype=np.float64), poses, ordered)
