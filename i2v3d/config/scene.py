"""The types of the group `scene`: what it is made from, and by which networks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from i2v3d.config.bounds import (
    Count,
    Dtype,
    Faces,
    Fraction,
    Frames,
    FramesASecond,
    Guidance,
    Index,
    Name,
    NonNegative,
    Number,
    Positive,
    Side,
    Steps,
    Strength,
    Vector,
)
from i2v3d.config.control import (
    ActionConfig,
    CameraConfig,
    CameraFormat,
    LightingConfig,
    ObjectConfig,
    ObjectKeyConfig,
    ShapeKeyConfig,
    VisibilityConfig,
)
from i2v3d.config.sections import section
from i2v3d.config.weights import WeightsRef


@section
class PerceptionConfig:
    """Published networks that the scene of a photo can be made with; each is used only where asked for."""

    sam2: WeightsRef
    detector: WeightsRef
    depth: WeightsRef
    inpaint: WeightsRef


@section
class SegmentConfig:
    """How the foreground mask is found. box: x0, y0, x1, y1 as fractions of the photo; None: automatic.

    points, background_points: x, y of points on the object and beside it, same unit. words: what method words looks
    for; None: the class name. weights: of SAM 2. detector: of Grounding DINO.
    """

    method: Literal["grabcut", "sam2", "words"]
    box: tuple[Fraction, Fraction, Fraction, Fraction] | None
    points: tuple[tuple[Fraction, Fraction], ...]
    background_points: tuple[tuple[Fraction, Fraction], ...]
    iterations: Count
    words: str | None
    weights: WeightsRef
    detector: WeightsRef


@section
class InpaintModelConfig:
    """SDXL inpainting. strength: how much of the first, plain filling is painted over, 1 for all of it."""

    prompt: str
    negative_prompt: str
    steps: Steps
    guidance: Guidance
    strength: Strength
    seed: Index
    dtype: Dtype
    weights: WeightsRef


@section
class InpaintConfig:
    """How the hole behind the foreground is filled. radius: how far the filling looks around; dilate: by how
    much the hole is grown; fractions of the frame's longer side. model: what paints with method sdxl."""

    method: Literal["telea", "navier_stokes", "sdxl"]
    radius: Fraction
    dilate: Fraction
    model: InpaintModelConfig


@section
class ForegroundMeshConfig:
    """A mesh instead of the inflated silhouette. file: of the user. rotation_deg: XYZ Euler angles that turn its
    front to the camera; turn_deg: how far the fit of the outlines may turn it from there. texture: the file's own, or
    the photo where its camera sees the mesh."""

    file: str | None
    rotation_deg: Vector
    turn_deg: Annotated[float, Field(ge=0, le=90)]
    texture: Literal["own", "photo"]


@section
class GeneratorConfig:
    """An image-to-3D program. command: its words, with {image}, {folder} and {mesh}. result: the mesh that it
    writes, inside {folder}. timeout_s: after which it is stopped."""

    command: str | None
    result: str
    timeout_s: Positive


@section
class ForegroundConfig:
    """The photo's object: its silhouette, inflated about a plane that faces the camera, stands upright, or lies on
    the ground; or a mesh, of a file or of a program, that is fitted to its outline.

    distance_m: depth of the object's lowest point. thickness: a factor on the inflated height. back: what
    the far side shows.
    """

    method: Literal["inflate", "mesh", "command"]
    stance: Literal["facing", "upright", "lying"]
    distance_m: Positive
    thickness: Positive
    back: Literal["mirror", "blurred", "neutral"]
    mesh: ForegroundMeshConfig
    generator: GeneratorConfig


@section
class DepthConfig:
    """Depth of the background. file: the user's map; None: estimated by the network of `weights`.

    kind, unit_m: what the file's numbers are. fit: bring metric depth to the scale of the ground. cut: relative
    jump of disparity at which surfaces part. sharpen: ramps as wide as this are jumps, fraction of the longer side.
    """

    file: str | None
    kind: Literal["metric", "disparity"]
    unit_m: Positive
    fit: bool
    cut: Positive
    sharpen: Fraction
    weights: WeightsRef


@section
class BackgroundMeshConfig:
    """A mesh of the surroundings. file: of the user. cameras, cameras_format: of the views that it was made from, in
    the file's own axes; camera: which of them, from 1, took the photo. scale: metres a unit of the file."""

    file: str | None
    cameras: str | None
    cameras_format: CameraFormat
    camera: Count
    scale: Positive


@section
class ViewsBackgroundConfig:
    """Several views of the background. folder: NNNN.png and NNNN_depth.exr (or others) of every camera, counted from
    1; cameras, cameras_format: their file; camera: which of them took the photo. scale: metres a unit of both."""

    folder: str | None
    cameras: str | None
    cameras_format: CameraFormat
    camera: Count
    scale: Positive


@section
class BackgroundConfig:
    """What is behind. horizon: fraction of the height from the top. pad: margin, a fraction of the size, and
    what it shows."""

    method: Literal["ground_and_wall", "depth", "views", "mesh"]
    horizon: Number
    wall_distance_m: Positive
    pad: NonNegative
    padding: Literal["smooth", "edge", "mirror"]
    depth: DepthConfig
    views: ViewsBackgroundConfig
    mesh: BackgroundMeshConfig


@section
class SceneConfig:
    """What every scene has. source: what it is made from, which decides its other options.

    prompt: what LoRA and keyframes call it. width, height: pixels. frames: of the shot, at fps a second.
    max_faces: triangles that one mesh may have.
    """

    source: str
    name: Name
    prompt: str
    width: Side
    height: Side
    frames: Frames
    fps: FramesASecond
    max_faces: Faces


@section
class PhotoSceneConfig(SceneConfig):
    """A photo and what happens in it. start_frame: of the timeline, the shot's first. keys: of the photo's
    foreground, about pivot_m (None: its centre). objects: others; remove: names of the photo's own that are
    left out."""

    source: Literal["photo"]
    photo: str
    start_frame: Count
    mask: str | None
    class_name: str
    segment: SegmentConfig
    inpaint: InpaintConfig
    foreground: ForegroundConfig
    background: BackgroundConfig
    camera: CameraConfig
    pivot_m: Vector | None
    keys: tuple[ObjectKeyConfig, ...]
    objects: tuple[ObjectConfig, ...]
    remove: tuple[str, ...]
    actions: tuple[ActionConfig, ...]
    shape_keys: tuple[ShapeKeyConfig, ...]
    visibility: tuple[VisibilityConfig, ...]
    lighting: LightingConfig


@section
class BlendSceneConfig(SceneConfig):
    """A scene made or changed in Blender. blend: the file. photo: the picture that the LoRA learns.

    foreground: names of its objects or collections; none: the roles in the file hold. start_frame: of its
    timeline, the shot's first.
    """

    source: Literal["blend"]
    blend: str
    photo: str
    class_name: str
    foreground: tuple[str, ...]
    start_frame: Count


@section
class ToySceneConfig(SceneConfig):
    """A held-out clip of the toy world, with its truth. seed, variants: the world. index: which clip.

    pace: how many times as far everything moves over the shot as over a clip of the training. view_deg: the
    object's view turns by this angle over the shot; None: as the clip has it. caption: what it shows. samples:
    rays a pixel side of the true photos.
    """

    source: Literal["toy"]
    seed: Index
    variants: Count
    index: Index
    pace: Positive
    view_deg: Number | None
    caption: str
    samples: Count
