"""The types of everything that moves in a scene: camera, objects, actions, shape keys, visibility, light.

Frames count from 1 along the timeline; a shot shows `frames` of them from `start_frame` on. Lengths are
metres, angles degrees.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from i2v3d.config.bounds import Colour, Count, FieldOfView, Index, Name, NonNegative, Number, Positive, Vector
from i2v3d.config.sections import section

Role = Literal["foreground", "background"]
# Blender's: BEZIER eases in and out, SINE to CIRC ease in, BACK, BOUNCE and ELASTIC ease out.
Easing = Literal[
    "CONSTANT", "LINEAR", "BEZIER", "SINE", "QUAD", "CUBIC", "QUART", "QUINT", "EXPO", "CIRC",
    "BACK", "BOUNCE",
]  # fmt: skip
Interpolation = Literal[Easing, "ELASTIC"]
CameraFormat = Literal["nerfstudio", "colmap", "look_at", "realestate10k", "dust3r"]


# ---------------------------------------------------------------- camera
@section
class CameraMoveConfig:
    """One camera move over a frame range; moves add up.

    kind: orbit (azimuth, elevation about the object), dolly (towards it), pan and tilt (turn in place),
    crane (up), truck (sideways), zoom (focal length). amount: degrees (orbit, pan, tilt), metres (dolly,
    crane, truck) or a focal-length factor (zoom), reached at end_frame.
    """

    kind: Literal["orbit", "orbit_up", "dolly", "pan", "tilt", "crane", "truck", "zoom"]
    amount: Number
    start_frame: Count
    end_frame: Count
    interpolation: Easing


@section
class CameraKeyConfig:
    """An explicit pose: where the camera stands, and either the point that it looks at or its rotation.

    rotation_deg: XYZ Euler angles as Blender shows them. fov_deg: horizontal; None: the photo's.
    """

    frame: Count
    position_m: Vector
    look_at_m: Vector | None
    rotation_deg: Vector | None
    fov_deg: FieldOfView | None
    interpolation: Easing


@section
class CameraTrackConfig:
    """Cameras of another program, one a frame. file: transforms.json, a folder of COLMAP's, or one of
    the other formats. align: 'photo' carries the first camera to the photo's view, 'world' takes poses as
    they are. scale: metres that one unit of the file means."""

    file: str
    format: CameraFormat
    align: Literal["photo", "world"]
    scale: Positive


@section
class HandheldConfig:
    """Smooth random shake on top of everything else; none at the shot's first frame.

    position_m, rotation_deg: typical size of the swing, each axis. frequency_hz: swings a second.
    """

    position_m: NonNegative
    rotation_deg: NonNegative
    frequency_hz: Positive
    seed: Index


@section
class CameraConfig:
    """fov_deg: the photo's horizontal field of view. track, keys: the path, the photo's own view without
    them. moves: on top of it."""

    fov_deg: FieldOfView
    track: CameraTrackConfig | None
    keys: tuple[CameraKeyConfig, ...]
    moves: tuple[CameraMoveConfig, ...]
    handheld: HandheldConfig | None


# ---------------------------------------------------------------- objects
@section
class ObjectKeyConfig:
    """A key of an object's transform: metres along world axes, XYZ Euler degrees, scale factors."""

    frame: Count
    translation_m: Vector
    rotation_deg: Vector
    scale: Vector
    interpolation: Interpolation


@section
class PlaceConfig:
    """Where a mesh stands at rest: its origin, XYZ Euler degrees and the metres of one of its units."""

    position_m: Vector
    rotation_deg: Vector
    scale: Positive


@section
class ObjectConfig:
    """A mesh beside the photo's own, or instead of one of its name.

    mesh: OBJ, GLB, glTF, FBX or PLY; copy_of: another object, whose mesh it shares (one of both is None).
    pivot_m: world point that its keys turn and scale about; None: its place's position.
    """

    name: Name
    mesh: str | None
    copy_of: str | None
    role: Role
    place: PlaceConfig
    pivot_m: Vector | None
    keys: tuple[ObjectKeyConfig, ...]


@section
class ActionConfig:
    """An animation inside an object's file, played from start_frame on. repeat: how many times."""

    object: str
    action: str
    start_frame: Count
    speed: Positive
    repeat: Positive


@section
class ShapeKeyConfig:
    """A key of a shape key's value: 0 is the mesh as it is, 1 the shape."""

    object: str
    shape_key: str
    frame: Count
    value: Number
    interpolation: Interpolation


@section
class VisibilityConfig:
    """An object appears (visible) or vanishes at a frame; before its first key it is the opposite."""

    object: str
    frame: Count
    visible: bool


# ---------------------------------------------------------------- light
@section
class SunConfig:
    """azimuth_deg: where it stands, anticlockwise from the world's x axis (0: right, 90: behind the object,
    270: behind the camera). elevation_deg: above the horizon. angle_deg: its apparent size, which softens
    shadows. strength: watts a square metre."""

    azimuth_deg: Number
    elevation_deg: Number
    angle_deg: Annotated[float, Field(ge=0, le=180)]
    strength: NonNegative
    colour: Colour


@section
class WorldLightConfig:
    """Light from all sides. strength: of a colour of linear light."""

    strength: NonNegative
    colour: Colour


@section
class LightingConfig:
    """style: flat shows the textures as they are; lit shades them by sun and world light."""

    style: Literal["flat", "lit"]
    sun: SunConfig
    world: WorldLightConfig
