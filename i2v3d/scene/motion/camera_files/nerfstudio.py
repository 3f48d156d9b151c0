"""transforms.json: c2w with OpenGL axes, intrinsics for all frames or of each; also instant-ngp's and NeRF's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from i2v3d.errors import InputError
from i2v3d.geometry.camera_track import CameraTrack, checked_track
from i2v3d.geometry.cameras import Array, focal_from_fov
from i2v3d.scene.frame_numbers import frame_numbers, natural
from i2v3d.scene.motion.camera_files.request import Request, Size, field_of_view

OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
_DISTORTION = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
_PLAIN = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE")


def read(request: Request) -> CameraTrack:
    """Cameras in the order of their pictures' names."""
    data = request.json()
    frames = sorted(data["frames"], key=lambda frame: natural(_name(frame)))
    if not frames:
        raise InputError(f"camera file {request.path} has no frames; export it again with its cameras")
    views = [{**data, **frame} for frame in frames]
    width, height = _size(request, views[0])
    for view in views:
        if any(float(view.get(name, 0.0)) != 0.0 for name in _DISTORTION):
            request.refuse_distortion("lens distortion")
            break
        if str(view.get("camera_model", "OPENCV")) not in _PLAIN:
            request.refuse_distortion(f"camera model {view['camera_model']}")
            break
    for view in views:
        if _size(request, view) != (width, height):
            raise InputError(f"camera file {request.path} mixes picture sizes; expected one for all frames")
    K = np.stack([_intrinsics(view, (width, height)) for view in views])
    c2w = np.array([view["transform_matrix"] for view in views], dtype=np.float64)
    if c2w.shape == (len(views), 3, 4):
        c2w = np.concatenate([c2w, np.tile([0.0, 0.0, 0.0, 1.0], (len(views), 1, 1))], axis=1)
    numbers = frame_numbers([_name(frame) for frame in frames])
    return checked_track(request.path, width, height, K, c2w * np.diag(OPENCV_FROM_OPENGL), numbers)


def _name(frame: Mapping[str, Any]) -> str:
    path = PurePosixPath(str(frame.get("file_path", "")))
    return str(path.with_suffix("")) if path.suffix else str(path)


def _size(request: Request, view: Mapping[str, Any]) -> Size:
    """Pixels (W, H) of a picture; the scene's if the file states angles alone."""
    if "w" in view and "h" in view:
        return int(view["w"]), int(view["h"])
    if "fl_x" not in view:
        return request.size
    if "cx" in view and "cy" in view:
        return round(2 * float(view["cx"])), round(2 * float(view["cy"]))
    raise InputError(
        f"camera file {request.path} gives fl_x in pixels but no w and h; add the pictures' size"
    )


def _intrinsics(view: Mapping[str, Any], size: Size) -> Array:
    width, height = size
    if "fl_x" in view:
        focal = view["fl_x"]
    else:
        focal = focal_from_fov(field_of_view(np.degrees(view["camera_angle_x"])), width)
    cx, cy = view.get("cx", width / 2), view.get("cy", height / 2)
    return np.array([[focal, 0.0, cx], [0.0, view.get("fl_y", focal), cy], [0.0, 0.0, 1.0]], dtype=np.float64)


def write(path: Path, track: CameraTrack) -> None:
    """Writes intrinsics of each frame."""
    numbers = track.numbers or range(1, track.frames + 1)
    frames = [
        {
            "file_path": f"rgb/{number:04d}.png",
            "fl_x": K[0, 0],
            "fl_y": K[1, 1],
            "cx": K[0, 2],
            "cy": K[1, 2],
            "transform_matrix": (pose @ OPENCV_FROM_OPENGL).tolist(),
        }
        for number, K, pose in zip(numbers, track.K, track.c2w, strict=True)
    ]
    data = {"camera_model": "PINHOLE", "w": track.width, "h": track.height, "frames": frames}
    path.write_text(json.dumps(data, indent=1) + "\n")
