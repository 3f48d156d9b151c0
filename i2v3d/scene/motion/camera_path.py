"""The camera of a shot: its path (the photo's view, explicit poses, or another program's), moves, shake."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicHermiteSpline, CubicSpline
from scipy.spatial.transform import Rotation

from i2v3d.artifacts.scene_spec import CameraKey
from i2v3d.config.bounds import Vector
from i2v3d.config.control import CameraConfig, CameraKeyConfig, CameraTrackConfig, HandheldConfig
from i2v3d.errors import ConfigError, ShapeError
from i2v3d.geometry import cameras as geometry
from i2v3d.geometry.camera_track import CameraTrack
from i2v3d.geometry.cameras import Array
from i2v3d.scene.motion.animation import Shot, apply_moves, check_moves, check_order
from i2v3d.scene.motion.easing import EASINGS

OPENCV_FROM_BLENDER = np.diag([1.0, -1.0, -1.0])
SQUARE_TOLERANCE = 1e-4  # of the focal length: 0.05 pixels at the side of a frame 1000 wide


@dataclass(frozen=True)
class View:
    """A camera at one frame: pose (4, 4) in the world, OpenCV axes, and focal length in pixels."""

    c2w: Array
    focal_px: float


@dataclass(frozen=True)
class Path:
    """The view of every frame of a shot, and the principal point, which all of them share."""

    views: tuple[View, ...]
    cx_px: float
    cy_px: float


def check_camera(cfg: CameraConfig, shot: Shot) -> None:
    """Raises ConfigError for keys or moves that are out of order or outside the shot, a key that names both
    or neither of a target and a rotation, one that looks at its own place, and a track beside keys."""
    check_moves(cfg.moves, shot)
    check_order([key.frame for key in cfg.keys], "scene.camera.keys", shot)
    if cfg.track is not None and cfg.keys:
        raise ConfigError("scene.camera has keys and a track; set track to null or keys to []")
    for number, key in enumerate(cfg.keys):
        where = f"scene.camera.keys[{number}]"
        if (key.look_at_m is None) == (key.rotation_deg is None):
            raise ConfigError(f"{where} needs either look_at_m or rotation_deg; set the other one to null")
        numbers = (*key.position_m, *(key.look_at_m or ()), *(key.rotation_deg or ()))
        if not all(math.isfinite(value) for value in numbers):
            raise ConfigError(f"{where} holds a number that is not finite; give finite ones")
        if key.look_at_m is not None:
            _look_at(np.array(key.position_m), np.array(key.look_at_m), where)


def camera_path(
    cfg: CameraConfig,
    shot: Shot,
    photo: View,
    size: tuple[int, int],
    pivot_m: Vector,
    track: CameraTrack | None,
) -> Path:
    """The view of every frame of the shot.

    photo: the photo's own view, which the first frame is unless keys or a track say otherwise. size: (W, H)
    pixels. pivot_m: what moves are about. track: what cfg.track names. Raises ConfigError as `check_camera`
    and `apply_moves`, or for a track that does not fit the shot.
    """
    check_camera(cfg, shot)
    centre = (size[0] / 2, size[1] / 2)
    if cfg.track is not None and track is not None:
        base, centre = _tracked(cfg.track, track, shot, photo, size)
    elif cfg.keys:
        base = _keyed(cfg.keys, shot, photo, size[0])
    else:
        base = [photo] * shot.frames
    shake = _shake(cfg.handheld, shot)
    views = []
    for frame, view in zip(shot.timeline(), base, strict=True):
        pose, focal_px = apply_moves(cfg.moves, frame, view.c2w, view.focal_px, pivot_m)
        views.append(View(shake(frame, pose), focal_px))
    return Path(tuple(views), *centre)


def path_keys(path: Path, shot: Shot) -> tuple[CameraKey, ...]:
    """One LINEAR key for every frame of the shot."""
    return tuple(
        CameraKey(frame, rows(view.c2w), view.focal_px, "LINEAR")
        for frame, view in zip(shot.timeline(), path.views, strict=True)
    )


def rows(pose: Array) -> tuple[tuple[float, float, float, float], ...]:
    """A matrix (4, 4) as plain data."""
    return tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in pose)


# ---------------------------------------------------------------- explicit poses
@dataclass(frozen=True)
class _Pose:
    """A key with its numbers resolved. target_m: None if a rotation is given."""

    frame: int
    position_m: Array
    target_m: Array | None
    turn: Array
    focal_px: float
    interpolation: str


def _keyed(keys: Sequence[CameraKeyConfig], shot: Shot, photo: View, width: int) -> list[View]:
    """Views between explicit poses; from the photo's view to the first one, if that comes after frame 1."""
    poses = [_resolve(key, photo, width) for key in keys]
    if poses[0].frame > 1:
        start = _Pose(1, photo.c2w[:3, 3], None, photo.c2w[:3, :3], photo.focal_px, keys[0].interpolation)
        poses.insert(0, start)
    return [_between(poses, frame) for frame in shot.timeline()]


def _resolve(key: CameraKeyConfig, photo: View, width: int) -> _Pose:
    position = np.array(key.position_m)
    focal = photo.focal_px if key.fov_deg is None else geometry.focal_from_fov(key.fov_deg, width)
    if key.look_at_m is not None:
        target = np.array(key.look_at_m)
        turn = _look_at(position, target, f"scene.camera.keys (frame {key.frame})")[:3, :3]
        return _Pose(key.frame, position, target, turn, focal, key.interpolation)
    turn = Rotation.from_euler("xyz", key.rotation_deg, degrees=True).as_matrix() @ OPENCV_FROM_BLENDER
    return _Pose(key.frame, position, None, turn, focal, key.interpolation)


def _between(poses: Sequence[_Pose], frame: int) -> View:
    """The view at a frame: positions, targets and the logarithm of the focal length on their curves,
    rotations on the shortest turn; held before the first and after the last pose."""
    later = next((n for n, pose in enumerate(poses) if pose.frame > frame), len(poses))
    at_key = later > 0 and poses[later - 1].frame == frame
    if at_key or later in (0, len(poses)):
        held = poses[max(0, later - 1)]
        return View(_matrix(held.turn, held.position_m), held.focal_px)
    k = later - 1
    a, b = poses[k], poses[later]
    position = _on_curve(poses, k, frame, np.stack([pose.position_m for pose in poses]))
    focal = float(np.exp(_on_curve(poses, k, frame, np.log([[pose.focal_px] for pose in poses]))[0]))
    if a.target_m is not None and b.target_m is not None:
        nowhere = np.full(3, np.nan)
        targets = np.stack([nowhere if pose.target_m is None else pose.target_m for pose in poses])
        target = _on_curve(poses, k, frame, targets)
        return View(_look_at(position, target, f"scene.camera.keys at frame {frame}"), focal)
    turns = Rotation.from_matrix(np.stack([pose.turn for pose in poses]))
    steps = (turns[1:] * turns[:-1].inv()).as_rotvec()
    turned = np.concatenate([[0.0], np.cumsum(np.linalg.norm(steps, axis=1))])  # radians up to each pose
    length = turned[later] - turned[k]
    share = (_on_curve(poses, k, frame, turned[:, None])[0] - turned[k]) / length if length else 0.0
    return View(_matrix((Rotation.from_rotvec(share * steps[k]) * turns[k]).as_matrix(), position), focal)


def _on_curve(poses: Sequence[_Pose], k: int, frame: int, values: Array) -> Array:
    """Channels (c,) at a frame between poses k and k + 1. values: (n, c), at all n poses.

    BEZIER runs through a pose between two others of its kind without stopping, unless the channel turns
    back there, as Blender's automatic, clamped handles do; it comes to rest at the first and last of them.
    """
    a, b = poses[k], poses[k + 1]
    if a.interpolation != "BEZIER":
        share = EASINGS[a.interpolation]((frame - a.frame) / (b.frame - a.frame))
        return values[k] + share * (values[k + 1] - values[k])
    slopes = [_slope(poses, n, values) for n in (k, k + 1)]
    return np.asarray(CubicHermiteSpline([a.frame, b.frame], values[k : k + 2], slopes)(frame))


def _slope(poses: Sequence[_Pose], n: int, values: Array) -> Array:
    """Change a frame of channels (c,) at pose n, such that no curve overshoots.

    Source: Fritsch and Carlson 1980, Monotone Piecewise Cubic Interpolation.
    """
    between = 0 < n < len(poses) - 1 and poses[n - 1].interpolation == poses[n].interpolation == "BEZIER"
    if not between:
        return np.zeros(values.shape[1])
    before = (values[n] - values[n - 1]) / (poses[n].frame - poses[n - 1].frame)
    after = (values[n + 1] - values[n]) / (poses[n + 1].frame - poses[n].frame)
    mean = (values[n + 1] - values[n - 1]) / (poses[n + 1].frame - poses[n - 1].frame)
    most = 3 * np.minimum(np.abs(before), np.abs(after))
    return np.where(before * after > 0, np.sign(mean) * np.minimum(np.abs(mean), most), 0.0)


def _look_at(eye: Array, target: Array, where: str) -> Array:
    try:
        return geometry.look_at(eye, target)
    except ShapeError as error:
        raise ConfigError(f"{where} has no direction to look in ({error}); move it or its target") from error


def _matrix(turn: Array, position_m: Array) -> Array:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn, position_m
    return pose


# ---------------------------------------------------------------- another program's cameras
def _tracked(
    cfg: CameraTrackConfig, track: CameraTrack, shot: Shot, photo: View, size: tuple[int, int]
) -> tuple[list[View], tuple[float, float]]:
    """The views of the shot's frames, the track's first camera being frame 1, and the principal point."""
    if track.frames < shot.last_frame:
        raise ConfigError(
            f"camera file {cfg.file} has {track.frames} cameras but the shot ends at frame "
            f"{shot.last_frame}; give scene.frames = {max(0, track.frames - shot.start_frame + 1)} or more cameras"
        )
    track = track.resized(*size)
    K = track.K
    if np.abs(K[:, 1, 1] / K[:, 0, 0] - 1).max() > SQUARE_TOLERANCE:
        raise ConfigError(f"camera file {cfg.file} has pixels that are not square; undistort it first")
    if np.ptp(K[:, :2, 2], axis=0).max() > 0.01:
        raise ConfigError(f"camera file {cfg.file} moves the principal point; expected one for all frames")
    poses = track.c2w.copy()
    poses[:, :3, 3] *= cfg.scale
    if cfg.align == "photo":
        poses = photo.c2w @ geometry.invert_pose(poses[0]) @ poses
    shown = slice(shot.start_frame - 1, shot.last_frame)
    views = [View(pose, float(focal)) for pose, focal in zip(poses[shown], K[shown, 0, 0], strict=True)]
    return views, (float(K[0, 0, 2]), float(K[0, 1, 2]))


# ---------------------------------------------------------------- handheld
def _shake(cfg: HandheldConfig | None, shot: Shot) -> Callable[[int, Array], Array]:
    """A function that shakes the pose of a frame: a spline through normal random numbers, in camera axes.

    It depends on the seed and the time in seconds only, and is zero at the shot's first frame.
    """
    if cfg is None:
        return lambda frame, pose: pose
    seconds = shot.last_frame / shot.fps
    knots = math.ceil(seconds * cfg.frequency_hz) + 4
    values = np.random.default_rng(cfg.seed).normal(size=(knots, 6))
    curve = CubicSpline(np.arange(knots) / cfg.frequency_hz, values)
    size = np.array([cfg.position_m] * 3 + [math.radians(cfg.rotation_deg)] * 3)
    rest = curve(shot.start_frame / shot.fps)

    def shaken(frame: int, pose: Array) -> Array:
        offset = size * (curve(frame / shot.fps) - rest)
        moved = pose.copy()
        moved[:3, 3] += pose[:3, :3] @ offset[:3]
        moved[:3, :3] = pose[:3, :3] @ Rotation.from_rotvec(offset[3:]).as_matrix()
        return moved

    return shaken
