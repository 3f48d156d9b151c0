"""Camera moves and object keys of the configuration: what may be asked for, and what a move does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from i2v3d.artifacts.scene_spec import TransformKey
from i2v3d.config.bounds import Vector
from i2v3d.config.control import CameraMoveConfig, ObjectKeyConfig
from i2v3d.errors import ConfigError
from i2v3d.geometry import cameras as geometry
from i2v3d.geometry.cameras import Array, ArrayLike
from i2v3d.scene.motion.easing import EASINGS

Z_UP = (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Shot:
    """Which frames of the timeline are shown, and how fast."""

    start_frame: int
    frames: int
    fps: int

    @property
    def last_frame(self) -> int:
        """The last frame of the timeline that is shown."""
        return self.start_frame + self.frames - 1

    def timeline(self) -> range:
        """The frames that are shown."""
        return range(self.start_frame, self.last_frame + 1)

    def check(self, where: str, at: Sequence[int]) -> None:
        """Raises ConfigError if a frame lies behind the shot's last one."""
        for frame in at:
            if not 1 <= frame <= self.last_frame:
                raise ConfigError(
                    f"{where} uses frame {frame} but the shot has frames {self.start_frame} to "
                    f"{self.last_frame}; change one"
                )


def check_moves(moves: Sequence[CameraMoveConfig], shot: Shot) -> None:
    """Raises ConfigError if a move ends after the shot or before it starts, has an amount that is not
    finite, or zooms by a factor that is not positive."""
    for number, move in enumerate(moves):
        where = f"scene.camera.moves[{number}] ({move.kind})"
        if not math.isfinite(move.amount):
            raise ConfigError(f"{where} has amount {move.amount}; give a finite number")
        if move.kind == "zoom" and move.amount <= 0:
            raise ConfigError(
                f"{where} has factor {move.amount:g}; a focal length scales by a positive factor"
            )
        shot.check(where, (move.start_frame, move.end_frame))
        if move.start_frame >= move.end_frame:
            raise ConfigError(
                f"{where} goes from frame {move.start_frame} to {move.end_frame}; it must end after it starts"
            )


def check_order(frames: Sequence[int], where: str, shot: Shot) -> None:
    """Raises ConfigError unless the frames of a list of keys ascend strictly and lie in the shot."""
    for number, frame in enumerate(frames):
        shot.check(f"{where}[{number}]", (frame,))
        if number and frame <= frames[number - 1]:
            raise ConfigError(
                f"{where}[{number}] is at frame {frame}, after one at frame {frames[number - 1]}; "
                "list keys by ascending frame, one a frame"
            )


def check_keys(keys: Sequence[ObjectKeyConfig], shot: Shot, where: str = "scene.keys") -> None:
    """Raises ConfigError if keys are not in ascending order of frames, lie outside the shot, hold a number
    that is not finite, or scale by a factor that is not positive."""
    check_order([key.frame for key in keys], where, shot)
    for number, key in enumerate(keys):
        numbers = (*key.translation_m, *key.rotation_deg, *key.scale)
        if not all(math.isfinite(value) for value in numbers):
            raise ConfigError(f"{where}[{number}] holds a number that is not finite; give finite ones")
        if min(key.scale) <= 0:
            raise ConfigError(f"{where}[{number}] scales by {min(key.scale):g}; scale factors are positive")


def object_keys(
    keys: Sequence[ObjectKeyConfig], shot: Shot, where: str = "scene.keys"
) -> tuple[TransformKey, ...]:
    """An object's keys as scene keys. Raises ConfigError as `check_keys`."""
    check_keys(keys, shot, where)
    return tuple(
        TransformKey(key.frame, key.translation_m, key.rotation_deg, key.scale, key.interpolation)
        for key in keys
    )


def apply_moves(
    moves: Sequence[CameraMoveConfig], frame: int, c2w: Array, focal_px: float, pivot_m: Vector
) -> tuple[Array, float]:
    """A view (4, 4 and pixels) as the moves change it at a frame; all add up and hold when they end.

    pivot_m: what orbit, orbit_up and dolly are about. Raises ConfigError if a dolly drives the camera
    through the pivot.
    """
    total = _totals(moves, frame)
    pose = _moved(c2w, pivot_m, total) if any(total.values()) else c2w
    return pose, focal_px * math.exp(total["zoom"])


def _totals(moves: Sequence[CameraMoveConfig], frame: int) -> dict[str, float]:
    """How far each kind of move has come at a frame; zoom as the logarithm of its factor."""
    kinds = ("orbit", "orbit_up", "dolly", "pan", "tilt", "crane", "truck", "zoom")
    total = dict.fromkeys(kinds, 0.0)
    for move in moves:
        time = (frame - move.start_frame) / (move.end_frame - move.start_frame)
        share = EASINGS[move.interpolation](min(max(time, 0.0), 1.0))
        total[move.kind] += share * (math.log(move.amount) if move.kind == "zoom" else move.amount)
    return total


def _moved(c2w: Array, pivot_m: ArrayLike, total: Mapping[str, float]) -> Array:
    """A pose (4, 4) after moves, applied in this order: tilt and pan in place, truck and dolly, orbit_up
    and orbit about the pivot, crane along the world's vertical.

    Positive is: tilt up, pan to the right, truck to the right, dolly towards the pivot, orbit_up over it,
    orbit to the right around it (anticlockwise from above), crane up.
    """
    eye, right = c2w[:3, 3], c2w[:3, 0]
    to_pivot = np.asarray(pivot_m) - eye
    distance = float(np.linalg.norm(to_pivot))
    if total["dolly"] >= distance:
        raise ConfigError(
            f"scene.camera.moves dolly {total['dolly']:.2f} m towards the object, which is only "
            f"{distance:.2f} m away; dolly less"
        )
    pose = c2w.copy()
    turn = geometry.rotation(Z_UP, -total["pan"]) @ geometry.rotation(right, total["tilt"])
    pose[:3, :3] = turn @ pose[:3, :3]
    pose[:3, 3] += total["truck"] * right + total["dolly"] / distance * to_pivot
    orbit_up = geometry.rotation_about(pivot_m, right, -total["orbit_up"])
    orbit = geometry.rotation_about(pivot_m, Z_UP, total["orbit"])
    crane = geometry.translation((0.0, 0.0, total["crane"]))
    return crane @ orbit @ orbit_up @ pose
