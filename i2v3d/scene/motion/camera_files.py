"""Cameras in the files of other programs: nerfstudio's transforms.json, COLMAP's text, look-at JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from i2v3d.errors import InputError, ShapeError, nearest
from i2v3d.geometry.camera_track import CameraTrack, checked_track
from i2v3d.geometry.cameras import Array, focal_from_fov, fov_from_focal, intrinsics, invert_pose, look_at

OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
CENTRE_TOLERANCE_PX = 1e-3
_DAMAGED = (OSError, ValueError, KeyError, TypeError, IndexError)
_DISTORTION = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
# Parameters of COLMAP's models up to the first of the distortion. Source: COLMAP, src/colmap/sensor/models.h.
_ONE_FOCAL = {"SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL"}
_TWO_FOCAL = {"PINHOLE", "OPENCV", "FULL_OPENCV"}

Size = tuple[int, int]


def read_track(path: Path, kind: str, size: Size) -> CameraTrack:
    """Reads cameras of a format ('nerfstudio', 'colmap', 'look_at'), one a frame, in the order of the shot.

    size: pixels (W, H), for the look-at format, which states none. Raises InputError if the file is
    missing, damaged, distorted or holds poses that are none.
    """
    try:
        return _READERS[kind](path, size)
    except _DAMAGED as error:
        raise InputError(
            f"camera file {path} cannot be read as {kind} ({type(error).__name__}: {error}); export it again"
        ) from error


def write_track(path: Path, kind: str, track: CameraTrack) -> None:
    """Writes cameras in a format; COLMAP's is a folder. Raises InputError if the format cannot express them."""
    if kind not in _WRITERS:
        raise InputError(f"{kind!r} is no camera format; {nearest(kind, _WRITERS)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    _WRITERS[kind](path, track)


# ---------------------------------------------------------------- nerfstudio
def _read_nerfstudio(path: Path, size: Size) -> CameraTrack:
    """transforms.json: c2w with OpenGL axes; intrinsics for all frames or of each."""
    data = json.loads(path.read_text())
    frames = sorted(data["frames"], key=lambda frame: _natural(str(frame.get("file_path", ""))))
    views = [{**data, **frame} for frame in frames]
    width, height = int(views[0]["w"]), int(views[0]["h"])
    for view in views:
        bent = [name for name in _DISTORTION if float(view.get(name, 0.0)) != 0.0]
        if bent or view.get("camera_model", "OPENCV") not in ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE"):
            raise InputError(f"camera file {path} has lens distortion; undistort its pictures first")
        if (int(view["w"]), int(view["h"])) != (width, height):
            raise InputError(f"camera file {path} mixes picture sizes; expected one for all frames")
    K = np.stack([_nerfstudio_intrinsics(view) for view in views])
    c2w = np.array([view["transform_matrix"] for view in views], dtype=np.float64)
    if c2w.shape == (len(views), 3, 4):
        c2w = np.concatenate([c2w, np.tile([0.0, 0.0, 0.0, 1.0], (len(views), 1, 1))], axis=1)
    return checked_track(path, width, height, K, c2w @ OPENCV_FROM_OPENGL)


def _nerfstudio_intrinsics(view: Mapping[str, Any]) -> Array:
    width, height = view["w"], view["h"]
    focal = view["fl_x"] if "fl_x" in view else focal_from_fov(np.degrees(view["camera_angle_x"]), width)
    cx, cy = view.get("cx", width / 2), view.get("cy", height / 2)
    return np.array([[focal, 0.0, cx], [0.0, view.get("fl_y", focal), cy], [0.0, 0.0, 1.0]])


def _write_nerfstudio(path: Path, track: CameraTrack) -> None:
    frames = [
        {
            "file_path": f"rgb/{number:04d}.png",
            "fl_x": K[0, 0],
            "fl_y": K[1, 1],
            "cx": K[0, 2],
            "cy": K[1, 2],
            "transform_matrix": (pose @ OPENCV_FROM_OPENGL).tolist(),
        }
        for number, (K, pose) in enumerate(zip(track.K, track.c2w, strict=True), start=1)
    ]
    data = {"camera_model": "PINHOLE", "w": track.width, "h": track.height, "frames": frames}
    path.write_text(json.dumps(data, indent=1) + "\n")


# ---------------------------------------------------------------- COLMAP
def _read_colmap(path: Path, size: Size) -> CameraTrack:
    """A folder with cameras.txt and images.txt: w2c as quaternion (w first) and translation."""
    cameras = {row[0]: row[1:] for row in _rows(path / "cameras.txt")}
    lines = (path / "images.txt").read_text().splitlines()
    listed = [line for line in lines if not line.startswith("#")]
    images = sorted(
        (line.split(maxsplit=9) for line in listed[::2] if line), key=lambda row: _natural(row[9])
    )
    sizes = {tuple(int(n) for n in cameras[row[8]][1:3]) for row in images}
    if len(sizes) != 1:
        raise InputError(f"camera file {path} has pictures of {len(sizes)} sizes; expected one")
    ((width, height),) = sizes
    K = np.stack([_colmap_intrinsics(path, cameras[row[8]]) for row in images])
    numbers = np.array([[float(value) for value in row[1:8]] for row in images])
    w2c = np.tile(np.eye(4), (len(images), 1, 1))
    w2c[:, :3, :3] = Rotation.from_quat(numbers[:, [1, 2, 3, 0]]).as_matrix()
    w2c[:, :3, 3] = numbers[:, 4:]
    return checked_track(path, width, height, K, invert_pose(w2c))


def _rows(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines() if line and not line.startswith("#")]


def _colmap_intrinsics(path: Path, camera: Sequence[str]) -> Array:
    model, values = camera[0], [float(value) for value in camera[3:]]
    if model not in _ONE_FOCAL | _TWO_FOCAL:
        raise InputError(f"camera file {path} has model {model}; undistort its pictures to PINHOLE first")
    one = model in _ONE_FOCAL
    fx, fy, cx, cy = (values[0], values[0], *values[1:3]) if one else values[:4]
    if any(values[3 if one else 4 :]):
        raise InputError(f"camera file {path} has lens distortion; undistort its pictures first")
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def _write_colmap(path: Path, track: CameraTrack) -> None:
    path.mkdir(parents=True, exist_ok=True)
    cameras, images = (
        ["# CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]"],
        ["# IMAGE_ID Q(wxyz) T CAMERA_ID NAME", "#"],
    )
    for number, (K, w2c) in enumerate(zip(track.K, track.w2c, strict=True), start=1):
        lens = (K[0, 0], K[1, 1], K[0, 2], K[1, 2])
        cameras.append(f"{number} PINHOLE {track.width} {track.height} {_text(lens)}")
        x, y, z, w = Rotation.from_matrix(w2c[:3, :3]).as_quat()
        images += [f"{number} {_text((w, x, y, z, *w2c[:3, 3]))} {number} {number:04d}.png", ""]
    (path / "cameras.txt").write_text("\n".join(cameras) + "\n")
    (path / "images.txt").write_text("\n".join(images) + "\n")
    (path / "points3D.txt").write_text("# POINT3D_ID X Y Z R G B ERROR TRACK[]\n")


def _text(values: Sequence[float]) -> str:
    return " ".join(repr(float(value)) for value in values)


# ---------------------------------------------------------------- look-at JSON
def _read_look_at(path: Path, size: Size) -> CameraTrack:
    """start_pos, end_pos, up_pos: where a camera stands, a point that it sees at its centre, and one above
    that; fov: degrees across the longer side. Source: the camera file of I2V3D's background meshes."""
    data = json.loads(path.read_text())
    start, end, up = (np.array(data[f"{name}_pos"], dtype=np.float64) for name in ("start", "end", "up"))
    if not start.shape == end.shape == up.shape == (len(start), 3):
        raise InputError(
            f"camera file {path} has {len(start)} start_pos, {len(end)} end_pos and {len(up)} up_pos; "
            "expected as many of each, three numbers a point"
        )
    width, height = size
    focal = focal_from_fov(float(data["fov"]), max(size))
    try:
        c2w = [look_at(a, b, c - b) for a, b, c in zip(start, end, up, strict=True)]
    except ShapeError as error:
        raise InputError(f"camera file {path}: {error}; correct that camera") from error
    K = np.tile(intrinsics(focal, width / 2, height / 2), (len(start), 1, 1))
    return checked_track(path, width, height, K, np.array(c2w).reshape(-1, 4, 4))


def _write_look_at(path: Path, track: CameraTrack) -> None:
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


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts frame_2 before frame_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


_READERS: Mapping[str, Callable[[Path, Size], CameraTrack]] = {
    "nerfstudio": _read_nerfstudio,
    "colmap": _read_colmap,
    "look_at": _read_look_at,
}
_WRITERS: Mapping[str, Callable[[Path, CameraTrack], None]] = {
    "nerfstudio": _write_nerfstudio,
    "colmap": _write_colmap,
    "look_at": _write_look_at,
}
