"""Cameras in the files of other programs, read into and written from `CameraTrack`."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path

from i2v3d.errors import InputError, nearest
from i2v3d.geometry.camera_track import CameraTrack
from i2v3d.scene.motion.camera_files import colmap, lists, look_at, nerfstudio
from i2v3d.scene.motion.camera_files.request import Request, Size

__all__ = ["FORMATS", "read_track", "write_track"]

_DAMAGED = (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, struct.error)
_READERS: Mapping[str, Callable[[Request], CameraTrack]] = {
    "nerfstudio": nerfstudio.read,
    "colmap": colmap.read,
    "look_at": look_at.read,
    "realestate10k": lists.read_realestate10k,
    "dust3r": lists.read_dust3r,
}
_WRITERS: Mapping[str, Callable[[Path, CameraTrack], None]] = {
    "nerfstudio": nerfstudio.write,
    "colmap": colmap.write,
    "look_at": look_at.write,
}
FORMATS = {
    "nerfstudio": "transforms.json of nerfstudio, instant-ngp or NeRF's synthetic scenes",
    "colmap": "a folder with cameras and images, .txt or .bin",
    "look_at": "JSON with start_pos, end_pos, up_pos and fov",
    "realestate10k": "its text files",
    "dust3r": "JSON with focals, principal_points and poses",
}


def read_track(path: Path, kind: str, size: Size, *, path_only: bool = False) -> CameraTrack:
    """Reads cameras of a format, one of `FORMATS`, in the order of the shot.

    size: pixels (W, H) of the scene, for formats that state none. path_only: nothing but the camera's path and field
    of view is wanted, so lens distortion is left out with a warning. Raises InputError if the file is missing,
    damaged, distorted or holds poses that are none.
    """
    try:
        return _READERS[kind](Request(path, size, path_only))
    except _DAMAGED as error:
        known = "; ".join(f"{name} ({what})" for name, what in FORMATS.items())
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            f"camera file {path} cannot be read as {kind} ({reason}); formats that are read: {known}"
        ) from error


def write_track(path: Path, kind: str, track: CameraTrack) -> None:
    """Writes cameras in a format; COLMAP's is a folder. Raises InputError if the format cannot express them."""
    if kind not in _WRITERS:
        raise InputError(f"{kind!r} is no camera format that is written; {nearest(kind, _WRITERS)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    _WRITERS[kind](path, track)
