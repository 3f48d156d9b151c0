"""Camera moves and object keys of the configuration as plain keys of the scene."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from i2v3d import geometry
from i2v3d.config import CameraMoveConfig, ObjectKeyConfig
from i2v3d.errors import ConfigError
from i2v3d.geometry import Array, ArrayLike
from i2v3d.scene.spec import CameraKey, TransformKey, Vector

Z_UP = (0.0, 0.0, 1.0)

# How far a move has come, 0 to 1, at time u in [0, 1]: Blender's curves between two keys, easing in.
EASINGS: Mapping[str, Callable[[float], float]] = {
    "CONSTANT": lambda u: float(u >= 1.0),
    "LINEAR": lambda u: u,
    "BEZIER": lambda u: u * u * (3.0 - 2.0 * u),
    "SINE": lambda u: 1.0 - math.cos(u * math.pi / 2.0),
    "QUAD": lambda u: u**2,
    "CUBIC": lambda u: u**3,
}


def check_moves(moves: Sequence[CameraMoveConfig], frames: int) -> None:
    """Raises ConfigError if a move starts before frame 1, ends after the shot or before it starts, has an
    amount that is not finite, zooms by a factor that is not positive, or moves a shot of one frame."""
    for number, move in enumerate(moves):
        where = f"scene.camera.moves[{number}] ({move.kind})"
        if not math.isfinite(move.amount):
            raise ConfigError(f"{where} has amount {move.amount}; give a finite number")
        if move.kind == "zoom" and move.amount <= 0:
            raise ConfigError(
                f"{where} has factor {move.amount:g}; a focal length scales by a positive factor"
            )
        _check_range(where, (move.start_frame, move.end_frame), frames)
        if move.start_frame >= move.end_frame:
            raise ConfigError(
                f"{where} goes from frame {move.start_frame} to {move.end_frame}; it must end after it starts"
            )


def check_keys(keys: Sequence[ObjectKeyConfig], frames: int) -> None:
    """Raises ConfigError if keys are not in ascending order of frames, lie outside the shot, hold a number
    that is not finite, or scale by a factor that is not positive."""
    for number, key in enumerate(keys):
        where = f"scene.keys[{number}]"
        _check_range(where, (key.frame,), frames)
        if number and key.frame <= keys[number - 1].frame:
            raise ConfigError(
                f"{where} is at frame {key.frame}, after one at frame {keys[number - 1].frame}; "
                "list keys by ascending frame, one a frame"
            )
        numbers = (*key.translation_m, *key.rotation_deg, *key.scale)
        if not all(math.isfinite(value) for value in numbers):
            raise ConfigError(f"{where} holds a number that is not finite; give finite ones")
        if min(key.scale) <= 0:
            raise ConfigError(f"{where} scales by {min(key.scale):g}; scale factors are positive")


def object_keys(keys: Sequence[ObjectKeyConfig], frames: int) -> tuple[TransformKey, ...]:
    """The foreground's keys as scene keys. Raises ConfigError as `check_keys`."""
    check_keys(keys, frames)
    return tuple(
        TransformKey(key.frame, key.translation_m, key.rotation_deg, key.scale, key.interpolation)
        for key in keys
    )


def camera_keys(
    moves: Sequence[CameraMoveConfig], frames: int, photo_c2w: Array, focal_px: float, pivot_m: Vector
) -> tuple[CameraKey, ...]:
    """One LINEAR key for every frame of the shot; all moves add up and hold their amount when they end.

    photo_c2w (4, 4), focal_px: the photo's own view, which is the key of frame 1 exactly. pivot_m: what
    orbit, orbit_up and dolly are about. Raises ConfigError as `check_moves`, or if a dolly drives the
    camera through the pivot.
    """
    check_moves(moves, frames)
    keys = []
    for frame in range(1, frames + 1):
        total = _totals(moves, frame)
        pose = _moved(photo_c2w, pivot_m, total) if any(total.values()) else photo_c2w
        zoom = math.exp(total["zoom"])
        keys.append(CameraKey(frame, _rows(pose), focal_px * zoom, "LINEAR"))
    return tuple(keys)


def _totals(moves: Sequence[CameraMoveConfig], frame: int) -> dict[str, float]:
    """How far each kind of move has come at a frame; zoom as the logarithm of its factor."""
    kinds = ("orbit", "orbit_up", "dolly", "pan", "tilt", "crane", "truck", "zoom")
    total = dict.fromkeys(kinds, 0.0)
    for move in moves:
        time = (frame - move.start_frame) / (move.end_frame - move.start_frame)
        share = EASINGS[move.interpolation](min(max(time, 0.0), 1.0))
        total[move.kind] += share * (math.log(move.amount) if move.kind == "zoom" else move.amount)
    return total


def _moved(photo_c2w: Array, pivot_m: ArrayLike, total: Mapping[str, float]) -> Array:
    """The photo's pose (4, 4) after moves, applied in this order: tilt and pan in place, truck and dolly,
    orbit_up and orbit about the pivot, crane along the world's vertical.

    Positive is: tilt up, pan to the right, truck to the right, dolly towards the pivot, orbit_up over it,
    orbit to the right around it (anticlockwise from above), crane up.
    """
    eye, right = photo_c2w[:3, 3], photo_c2w[:3, 0]
    to_pivot = np.asarray(pivot_m) - eye
    distance = float(np.linalg.norm(to_pivot))
    if total["dolly"] >= distance:
        raise ConfigError(
            f"scene.camera.moves dolly {total['dolly']:.2f} m towards the object, which is only "
            f"{distance:.2f} m away; dolly less"
        )
    pose = photo_c2w.copy()
    turn = geometry.rotation(Z_UP, -total["pan"]) @ geometry.rotation(right, total["tilt"])
    pose[:3, :3] = turn @ pose[:3, :3]
    pose[:3, 3] += total["truck"] * right + total["dolly"] / distance * to_pivot
    orbit_up = geometry.rotation_about(pivot_m, right, -total["orbit_up"])
    orbit = geometry.rotation_about(pivot_m, Z_UP, total["orbit"])
    crane = geometry.translation((0.0, 0.0, total["crane"]))
    return crane @ orbit @ orbit_up @ pose


def _rows(pose: Array) -> tuple[tuple[float, float, float, float], ...]:
    a, b, c, d = (tuple(float(value) for value in row) for row in pose)
    return (a, b, c, d)  # type: ignore[return-value]


def _check_range(where: str, at: Sequence[int], frames: int) -> None:
    for frame in at:
        if not 1 <= frame <= frames:
            raise ConfigError(f"{where} uses frame {frame} but the shot has frames 1 to {frames}; change one")
