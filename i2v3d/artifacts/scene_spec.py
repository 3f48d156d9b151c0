"""A scene as plain data: what Blender is one view of.

World axes are Blender's: right-handed, z up, metres. Angles are degrees. Frames count from 1.
Cameras use OpenCV axes in their matrices (x right, y down, z forward). Keys count along the timeline, of
which a shot shows `frames` from `start_frame` on; what is rendered is numbered from 1 again.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from i2v3d.config.bounds import Vector
from i2v3d.config.control import Interpolation, Role
from i2v3d.errors import ArtifactError

Row = tuple[float, float, float, float]
Pose = tuple[Row, ...]
IDENTITY: Pose = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
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
    world_from_camera: Pose
    focal_px: float
    interpolation: Interpolation


@dataclass(frozen=True)
class ActionSpec:
    """An animation of a mesh's file, by its name in there, played `repeat` times from a frame on."""

    action: str
    start_frame: int
    speed: float
    repeat: float


@dataclass(frozen=True)
class ShapeKey:
    """The value of a mesh's shape key at a frame."""

    shape_key: str
    frame: int
    value: float
    interpolation: Interpolation


@dataclass(frozen=True)
class VisibilityKey:
    """An object appears or vanishes at a frame; before its first key it is the opposite."""

    frame: int
    visible: bool


@dataclass(frozen=True)
class ObjectSpec:
    """One mesh with its animation. mesh: path relative to the scene folder. pivot_m: world point.

    place: world from mesh axes (4 x 4, row-major), at rest; the mesh's own are z up and metres, whatever
    its file says.
    """

    name: str
    role: Role
    mesh: str
    pivot_m: Vector
    keys: tuple[TransformKey, ...] = ()
    place: Pose = IDENTITY
    actions: tuple[ActionSpec, ...] = ()
    shape_keys: tuple[ShapeKey, ...] = ()
    visibility: tuple[VisibilityKey, ...] = ()


@dataclass(frozen=True)
class Lighting:
    """How surfaces are shaded: 'flat' shows textures as they are, 'lit' by a sun and light from all sides.

    sun_direction: world direction that the sun stands in. sun_angle_deg: its apparent size. Strengths as
    Blender means them: watts a square metre of the sun, radiance of the world. Colours are linear.
    """

    style: Literal["flat", "lit"]
    sun_direction: Vector
    sun_angle_deg: float
    sun_strength: float
    sun_colour: Vector
    world_strength: float
    world_colour: Vector


FLAT = Lighting("flat", (0.0, 0.0, 1.0), 0.0, 0.0, (1.0, 1.0, 1.0), 0.0, (1.0, 1.0, 1.0))


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
    start_frame: int = 1
    lighting: Lighting = FLAT

    @property
    def last_frame(self) -> int:
        """The shot's last frame on the timeline."""
        return self.start_frame + self.frames - 1

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
                **{k: v for k, v in data.items() if k not in ("camera", "objects", "lighting")},
                camera=tuple(_camera_key(k) for k in data["camera"]),
                objects=tuple(_object(o) for o in data["objects"]),
                lighting=Lighting(**_tuples(data["lighting"])),
            )
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{path} is not a scene file ({error}); re-run its stage") from error
        for key in scene.camera:
            if not all(math.isfinite(v) for row in key.world_from_camera for v in row):
                raise ArtifactError(f"{path}: the camera of frame {key.frame} is not finite")
        return scene


def _camera_key(data: Mapping[str, Any]) -> CameraKey:
    return CameraKey(**{**data, "world_from_camera": _pose(data["world_from_camera"])})


def _object(data: Mapping[str, Any]) -> ObjectSpec:
    return ObjectSpec(
        **{
            **_tuples(data),
            "place": _pose(data["place"]),
            "keys": tuple(TransformKey(**_tuples(key)) for key in data["keys"]),
            "actions": tuple(ActionSpec(**action) for action in data["actions"]),
            "shape_keys": tuple(ShapeKey(**key) for key in data["shape_keys"]),
            "visibility": tuple(VisibilityKey(**key) for key in data["visibility"]),
        }
    )


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    """JSON's lists as the tuples that they were."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}


def _pose(rows: Any) -> Pose:
    a, b, c, d = (tuple(float(value) for value in row) for row in rows)
    return (a, b, c, d)  # type: ignore[return-value]
