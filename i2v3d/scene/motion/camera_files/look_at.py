"""Look-at JSON. start_pos, end_pos, up_pos: where a camera stands, a point that it sees at its centre, and one above
that; fov: degrees across the longer side. Source: the camera file of I2V3D's background meshes."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np

from i2v3d.errors import InputError, ShapeError
from i2v3d.geometry.camera_track import CameraTrack, checked_track
from i2v3d.geometry.cameras import Array, focal_from_fov, fov_from_focal, intrinsics, look_at
from i2v3d.scene.motion.camera_files.request import Request, field_of_view

log = logging.getLogger(__name__)

CENTRE_TOLERANCE_PX = 1e-3


def read(request: Request) -> CameraTrack:
    """Cameras in the order of the lists; the scene's pixels, as the format states none."""
    data = request.json()
    start, end, up = (np.array(data[f"{name}_pos"], dtype=np.float64) for name in ("start", "end", "up"))
    if not start.shape == end.shape == up.shape == (len(start), 3):
        raise InputError(
            f"camera file {request.path} has {len(start)} start_pos, {len(end)} end_pos and {len(up)} up_pos; "
            "expected as many of each, three numbers a point"
        )
    ways = up - end
    if _are_directions(start, up):
        log.warning("camera file %s: up_pos is taken for one direction, as it never changes", request.path)
        ways = up
    width, height = request.size
    focal = focal_from_fov(field_of_view(data["fov"]), max(request.size))
    try:
        c2w = [look_at(a, b, way) for a, b, way in zip(start, end, ways, strict=True)]
    except ShapeError as error:
        raise InputError(f"camera file {request.path}: {error}; correct that camera") from error
    K = np.tile(intrinsics(focal, width / 2, height / 2), (len(start), 1, 1))
    return checked_track(request.path, width, height, K, np.array(c2w).reshape(-1, 4, 4))


def _are_directions(start: Array, up: Array) -> bool:
    """Whether up_pos is one unit vector although the cameras move, so no point above what each one sees."""
    return bool(
        len(start) > 1
        and np.ptp(start, axis=0).max() > 0
        and np.ptp(up, axis=0).max() == 0
        and abs(np.linalg.norm(up[0]) - 1) < 1e-6
    )


def write(path: Path, track: CameraTrack) -> None:
    """Raises InputError for a zoom or a lens that is not centred."""
    centre = np.array([track.width, track.height]) / 2
    if (
        np.ptp(track.K, axis=0).max() > CENTRE_TOLERANCE_PX
        or np.abs(track.K[:, :2, 2] - centre).max() > CENTRE_TOLERANCE_PX
    ):
        raise InputError(
            "the look-at format has one field of view and a centred lens for all frames, which these cameras "
            "have not; export them as nerfstudio or colmap"
        )
    start = track.c2w[:, :3, 3]
    end = start + track.c2w[:, :3, 2]
    data = {
        "start_pos": start.tolist(),
        "end_pos": end.tolist(),
        "up_pos": (end - track.c2w[:, :3, 1]).tolist(),
        "fov": fov_from_focal(float(track.K[0, 0, 0]), max(track.width, track.height)),
    }
    path.write_text(json.dumps(data, indent=1) + "\n")
