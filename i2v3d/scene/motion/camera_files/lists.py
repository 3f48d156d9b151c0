"""Plain lists of poses: RealEstate10K's text files and what DUSt3R's cameras are commonly saved as."""

from __future__ import annotations

import numpy as np

from i2v3d.errors import InputError
from i2v3d.geometry.camera_track import CameraTrack, checked_track
from i2v3d.geometry.cameras import invert_pose
from i2v3d.scene.motion.camera_files.request import Request

_COLUMNS = 19  # time, four of the lens, two zeros, 3 x 4 of the pose
SQUARE_TOLERANCE = 0.01


def read_realestate10k(request: Request) -> CameraTrack:
    """A line of the video's address, then one a frame: microseconds, fx fy cx cy k1 k2 as fractions of width and
    height, w2c by rows. Its pixels are square, so the lens says the aspect; the scene says the width."""
    lines = [line.split() for line in request.path.read_text().splitlines() if line.strip()]
    rows = [line for line in lines if len(line) == _COLUMNS]
    if len(lines) - len(rows) > 1 or not rows:
        raise ValueError(f"{len(rows)} of {len(lines)} lines have {_COLUMNS} numbers")
    table = np.array(rows, dtype=np.float64)
    table = table[np.argsort(table[:, 0], kind="stable")]
    if table[:, 5:7].any():
        request.refuse_distortion("lens distortion")
    if not (np.isfinite(table).all() and (table[:, 1:3] > 0).all()):
        raise InputError(
            f"camera file {request.path} has a focal length that is not positive, or no number; export it again"
        )
    width = request.size[0]
    height = round(width * float(table[0, 1] / table[0, 2]))
    focal = table[:, 1] * width
    if np.abs(table[:, 2] * height / focal - 1).max() > SQUARE_TOLERANCE:
        raise InputError(f"camera file {request.path} changes its aspect between frames; split it")
    K = np.tile(np.eye(3), (len(table), 1, 1))
    K[:, 0, 0] = K[:, 1, 1] = focal
    K[:, 0, 2], K[:, 1, 2] = table[:, 3] * width, table[:, 4] * height
    w2c = np.tile(np.eye(4), (len(table), 1, 1))
    w2c[:, :3] = table[:, 7:].reshape(-1, 3, 4)
    steps = np.diff(table[:, 0])
    numbers = None
    if len(steps) and steps.min() > 0:
        numbers = [1, *(1 + np.rint((table[1:, 0] - table[0, 0]) / np.median(steps)).astype(int)).tolist()]
    return checked_track(request.path, width, height, K, invert_pose(w2c), numbers)


def read_dust3r(request: Request) -> CameraTrack:
    """focals: a number or one a camera; principal_points: (x, y) of each; poses: c2w, OpenCV axes."""
    data = request.json()
    c2w = np.array(data["poses"], dtype=np.float64)
    focals = np.broadcast_to(np.array(data["focals"], dtype=np.float64).reshape(-1), len(c2w))
    centres = np.array(data["principal_points"], dtype=np.float64).reshape(-1, 2)
    centres = np.broadcast_to(centres, (len(c2w), 2))
    width, height = (round(2 * float(value)) for value in centres[0])
    K = np.tile(np.eye(3), (len(c2w), 1, 1))
    K[:, 0, 0] = K[:, 1, 1] = focals
    K[:, :2, 2] = centres
    return checked_track(request.path, width, height, K, c2w)
