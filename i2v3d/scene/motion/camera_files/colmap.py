"""COLMAP's sparse models, text and binary: cameras with their models, images with w2c.

Source: COLMAP, src/colmap/sensor/models.h and scene/reconstruction_io.cc.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from scipy.spatial.transform import Rotation

from i2v3d.errors import InputError
from i2v3d.geometry.camera_track import CameraTrack, checked_track
from i2v3d.geometry.cameras import Array, invert_pose
from i2v3d.scene.frame_numbers import frame_numbers, natural
from i2v3d.scene.motion.camera_files.request import Request

INSIDE = (".", "sparse/0", "sparse", "0", "colmap/sparse/0")  # where programs put the model
QUATERNION_TOLERANCE = 0.01
# Model -> number of its parameters; in the order of their numbers in binary files.
_MODELS = {
    "SIMPLE_PINHOLE": 3, "PINHOLE": 4, "SIMPLE_RADIAL": 4, "RADIAL": 5, "OPENCV": 8, "OPENCV_FISHEYE": 8,
    "FULL_OPENCV": 12, "FOV": 5, "SIMPLE_RADIAL_FISHEYE": 4, "RADIAL_FISHEYE": 5, "THIN_PRISM_FISHEYE": 12,
    "RAD_TAN_THIN_PRISM_FISHEYE": 16,
}  # fmt: skip
_ONE_FOCAL = ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE")
_PLAIN = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV")


@dataclass(frozen=True)
class _Camera:
    model: str
    size: tuple[int, int]
    values: tuple[float, ...]


@dataclass(frozen=True)
class _Image:
    """pose: quaternion, w first, and translation, world to camera."""

    pose: tuple[float, ...]
    camera: int
    name: str


def read(request: Request) -> CameraTrack:
    """The images of a model in the order of their names."""
    folder = _model_folder(request.path)
    if (folder / "images.bin").is_file():
        cameras = _binary_cameras((folder / "cameras.bin").read_bytes())
        images = _binary_images((folder / "images.bin").read_bytes())
    else:
        cameras = _text_cameras((folder / "cameras.txt").read_text(encoding="utf-8-sig"))
        images = _text_images((folder / "images.txt").read_text(encoding="utf-8-sig"), cameras)
    images.sort(key=lambda image: natural(image.name))
    sizes = {cameras[image.camera].size for image in images}
    if len(sizes) != 1:
        raise InputError(f"camera file {request.path} has pictures of {len(sizes)} sizes; expected one")
    ((width, height),) = sizes
    for number in {image.camera for image in images}:
        _check_lens(request, cameras[number])
    K = np.stack([_intrinsics(cameras[image.camera]) for image in images])
    pose = np.array([image.pose for image in images])
    w2c = np.tile(np.eye(4), (len(images), 1, 1))
    w2c[:, :3, :3] = Rotation.from_quat(pose[:, [1, 2, 3, 0]]).as_matrix()
    w2c[:, :3, 3] = pose[:, 4:]
    numbers = frame_numbers([str(PurePosixPath(image.name).with_suffix("")) for image in images])
    return checked_track(request.path, width, height, K, invert_pose(w2c), numbers)


def _model_folder(path: Path) -> Path:
    """Where the model lies in the folder that the user names. Raises InputError if there is none."""
    for inside in INSIDE:
        for suffix in ("bin", "txt"):
            if (path / inside / f"images.{suffix}").is_file() and (
                path / inside / f"cameras.{suffix}"
            ).is_file():
                return path / inside
    raise InputError(
        f"camera file {path} cannot be read as colmap: neither cameras.txt and images.txt nor cameras.bin and "
        "images.bin are in it; give the folder of a sparse model"
    )


def _text_cameras(text: str) -> dict[int, _Camera]:
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {
        int(row[0]): _Camera(row[1], (int(row[2]), int(row[3])), tuple(float(value) for value in row[4:]))
        for row in rows
    }


def _text_images(text: str, cameras: Mapping[int, _Camera]) -> list[_Image]:
    """Lines that are images by their content: lists of points may be empty, blank or left out.

    Raises ValueError for a line that is neither an image nor a list of points.
    """
    images = []
    for line in text.splitlines():
        words = line.split(maxsplit=9)
        if not words or line.startswith("#"):
            continue
        if image := _text_image(words, cameras):
            images.append(image)
        elif not _is_points(line.split()):
            raise ValueError(f"{line[:60]!r} is neither an image nor a list of points")
    return images


def _text_image(words: Sequence[str], cameras: Mapping[int, _Camera]) -> _Image | None:
    """An image: a number, a unit quaternion, a translation, a known camera and a name."""
    try:
        _, *numbers = int(words[0]), *(float(word) for word in words[1:8])
        camera, name = int(words[8]), words[9].strip()
    except (ValueError, IndexError):
        return None
    length = float(np.linalg.norm(numbers[:4]))
    known = camera in cameras and abs(length - 1) <= QUATERNION_TOLERANCE
    return _Image(tuple(numbers), camera, name) if known else None


def _is_points(words: Sequence[str]) -> bool:
    """Whether words are x, y and a point's number, again and again."""
    try:
        for word in words[2::3]:
            int(word)
        for word in words:
            float(word)
    except ValueError:
        return False
    return len(words) % 3 == 0


def _binary_cameras(data: bytes) -> dict[int, _Camera]:
    (count,), at = struct.unpack_from("<Q", data), 8
    cameras = {}
    for _ in range(count):
        number, model, width, height = struct.unpack_from("<iiQQ", data, at)
        if not 0 <= model < len(_MODELS):
            raise ValueError(f"camera {number} has a model of number {model}, which COLMAP does not have")
        name = list(_MODELS)[model]
        values = struct.unpack_from(f"<{_MODELS[name]}d", data, at + 24)
        cameras[number] = _Camera(name, (width, height), values)
        at += 24 + 8 * len(values)
    return cameras


def _binary_images(data: bytes) -> list[_Image]:
    (count,), at = struct.unpack_from("<Q", data), 8
    images = []
    for _ in range(count):
        _, *pose, camera = struct.unpack_from("<i7di", data, at)
        end = data.index(b"\0", at + 64)
        images.append(_Image(tuple(pose), camera, data[at + 64 : end].decode()))
        (points,) = struct.unpack_from("<Q", data, end + 1)
        at = end + 9 + 24 * points
        if at > len(data):
            raise ValueError(f"image {len(images)} ends behind the file")
    return images


def _check_lens(request: Request, camera: _Camera) -> None:
    """Refuses distortion where pixels must fit. Raises ValueError for a model that COLMAP does not have."""
    if camera.model not in _MODELS:
        raise InputError(
            f"camera file {request.path} has model {camera.model}, which COLMAP does not know; undistort to PINHOLE"
        )
    if len(camera.values) != _MODELS[camera.model]:
        raise ValueError(f"{camera.model} has {len(camera.values)} parameters, not {_MODELS[camera.model]}")
    if camera.model not in _PLAIN:
        request.refuse_distortion(f"model {camera.model}")
    elif any(camera.values[3 if camera.model in _ONE_FOCAL else 4 :]):
        request.refuse_distortion("lens distortion")


def _intrinsics(camera: _Camera) -> Array:
    values = camera.values
    fx, fy, cx, cy = (values[0], values[0], *values[1:3]) if camera.model in _ONE_FOCAL else values[:4]
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def write(path: Path, track: CameraTrack) -> None:
    """Writes a folder of text files, without points."""
    path.mkdir(parents=True, exist_ok=True)
    cameras = ["# CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]"]
    images = ["# IMAGE_ID Q(wxyz) T CAMERA_ID NAME", "#"]
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
