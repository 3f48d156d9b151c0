"""A scene as plain data: what Blender is one view of.

World axes are Blender's: right-handed, z up, metres. Angles are degrees. Frames count from 1.
Cameras use OpenCV axes in their matrices (x right, y down, z forward).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from i2v3d.errors import ArtifactError

Interpolation = Literal["CONSTANT", "LINEAR", "BEZIER", "SINE", "QUAD", "CUBIC"]
Role = Literal["foreground", "background"]
Vector = tuple[float, float, float]
SCHEMA = 1


@dataclass(frozen=True)
class TransformKey:
    """An object's transform at one frame, relative to its rest pose and about its pivot.

    translation_m: metres along the world axes. rotation_deg: XYZ Euler angles. scale: factors.
    interpolation: Blender's F-curve mode from this key to the next one.
    """

    frame: int
    translation_m: Vector
    rotation_deg: Vector
    scale: Vector
    interpolation: Interpolation


@dataclass(frozen=True)
class CameraKey:
    """A camera pose at one frame. world_from_camera: 4 x 4, row-major, OpenCV camera axes.

    focal_px: focal length in pixels of the render width x height (zoom animates it).
    """

    frame: int
    world_from_camera: tuple[tuple[float, float, float, float], ...]
    focal_px: float
    interpolation: Interpolation


@dataclass(frozen=True)
class ObjectSpec:
    """One mesh with its animation. mesh: GLB path relative to the scene folder. pivot_m: world point."""

    name: str
    role: Role
    mesh: str
    pivot_m: Vector
    keys: tuple[TransformKey, ...] = ()


@dataclass(frozen=True)
class SceneSpec:
    """Everything the renderer needs. cx_px, cy_px: principal point in pixels (pixel centres at +0.5)."""

    name: str
    width: int
    height: int
    frames: int
    fps: int
    cx_px: float
    cy_px: float
    camera: tuple[CameraKey, ...]
    objects: tuple[ObjectSpec, ...]
    schema: int = SCHEMA
    notes: Mapping[str, Any] = field(default_factory=dict)

    def foreground(self) -> tuple[ObjectSpec, ...]:
        """The objects that the foreground mask shows."""
        return tuple(o for o in self.objects if o.role == "foreground")

    def save(self, path: Path) -> None:
        """Writes the scene as JSON. Raises ArtifactError if a number in it is not finite."""
        data = dataclasses.asdict(self)
        try:
            path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n")
        except ValueError as error:
            raise ArtifactError(f"scene {self.name!r} holds a number that is not finite: {error}") from error

    @staticmethod
    def load(path: Path) -> SceneSpec:
        """Reads a scene written by `save`. Raises ArtifactError if it is missing, malformed or not finite."""
        try:
            data = json.loads(path.read_text())
            if data["schema"] != SCHEMA:
                raise ArtifactError(
                    f"{path} has schema {data['schema']}, expected {SCHEMA}; re-run its stage"
                )
            scene = SceneSpec(
                **{k: v for k, v in data.items() if k not in ("camera", "objects")},
                camera=tuple(_camera_key(k) for k in data["camera"]),
                objects=tuple(_object(o) for o in data["objects"]),
            )
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{path} is not a scene file ({error}); re-run its stage") from error
        for key in scene.camera:
            if not all(math.isfinite(v) for row in key.world_from_camera for v in row):
                raise ArtifactError(f"{path}: the camera of frame {key.frame} is not finite")
        return scene


def _camera_key(data: Mapping[str, Any]) -> CameraKey:
    matrix = tuple(tuple(float(v) for v in row) for row in data["world_from_camera"])
    return CameraKey(**{**data, "world_from_camera": matrix})


def _object(data: Mapping[str, Any]) -> ObjectSpec:
    keys = tuple(
        TransformKey(
            frame=k["frame"],
            translation_m=tuple(k["translation_m"]),
            rotation_deg=tuple(k["rotation_deg"]),
            scale=tuple(k["scale"]),
            interpolation=k["interpolation"],
        )
        for k in data["keys"]
    )
    return ObjectSpec(**{**data, "pivot_m": tuple(data["pivot_m"]), "keys": keys})
