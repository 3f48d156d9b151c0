"""A scene as plain data: what Blender is one view of.

World axes are Blender's: right-handed, z up, metres. Angles are degrees. Frames count from 1.
Cameras use OpenCV axes in their matrices (x right, y down, z forward). Keys count along the timeline, of
which a shot shows `frames` from `start_frame` on; what is rendered is numbered from 1 again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict

from i2v3d.artifacts.files import read_as, write_json
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

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

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

    def starts_with_photo(self) -> bool:
        """Whether the first frame is seen as the photo was; scenes that do not say how start with the photo."""
        view = self.notes.get("photo_view")
        if view is None:
            return True
        first = self.camera[0]
        pose = np.allclose(first.world_from_camera, view["world_from_camera"], atol=1e-6)
        return pose and bool(np.isclose(first.focal_px, view["focal_px"]))

    def save(self, path: Path) -> None:
        """Writes the scene as JSON. Raises ArtifactError if a number in it is not finite."""
        write_json(path, dataclasses.asdict(self))

    @staticmethod
    def load(path: Path) -> SceneSpec:
        """Reads a scene written by `save`. Raises ArtifactError if it is missing, malformed or not finite."""
        scene = read_as(path, SceneSpec, "a scene file")
        if scene.schema != SCHEMA:
            raise ArtifactError(f"{path} has schema {scene.schema}, expected {SCHEMA}; re-run its stage")
        return scene
