"""The types of every configuration group: one frozen section each, validated when it is built.

Values live in conf/*.yaml; nothing here has a default. `i2v3d.sections` says how sections are built.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from i2v3d.control_config import (
    ActionConfig,
    CameraConfig,
    Count,
    Fraction,
    Index,
    LightingConfig,
    NonNegative,
    ObjectConfig,
    ObjectKeyConfig,
    Positive,
    ShapeKeyConfig,
    Vector,
    VisibilityConfig,
)
from i2v3d.errors import ConfigError
from i2v3d.sections import section

Strength = Annotated[float, Field(gt=0, le=1)]
Side = Annotated[int, Field(ge=16, le=8192)]
Dtype = Literal["float32", "float16", "bfloat16"]
DepthRange = Literal["shot", "frame"]
FirstKeyframe = Literal["generated", "photo"]
Conditioning = Literal["keyframes", "chained", "photo"]
FramesOf = Literal["interpolate", "render", "cross_fade", "sdedit_image", "sdedit_video"]


# ---------------------------------------------------------------- weights
@section
class WeightsRef:
    """Where weights lie. source: a folder, or a repository id of the local model cache.

    revision: the pinned commit of a repository. subfolder, variant: as diffusers means them.
    size_gb and licence are what the message about missing weights tells.
    """

    source: str
    revision: str | None
    subfolder: str | None
    variant: str | None
    size_gb: NonNegative
    licence: str


@section
class PerceptionConfig:
    """Published networks that the scene of a photo can be made with; each is used only where asked for."""

    sam2: WeightsRef
    depth: WeightsRef
    inpaint: WeightsRef


# ---------------------------------------------------------------- scene
@section
class SegmentConfig:
    """How the foreground mask is found. box: x0, y0, x1, y1 as fractions of the photo; None: automatic.

    points, background_points: x, y of points on the object and beside it, same unit. weights: of SAM 2.
    """

    method: Literal["grabcut", "sam2"]
    box: tuple[Fraction, Fraction, Fraction, Fraction] | None
    points: tuple[tuple[Fraction, Fraction], ...]
    background_points: tuple[tuple[Fraction, Fraction], ...]
    iterations: Count
    weights: WeightsRef


@section
class InpaintModelConfig:
    """SDXL inpainting. strength: how much of the first, plain filling is painted over, 1 for all of it."""

    prompt: str
    negative_prompt: str
    steps: Count
    guidance: Positive
    strength: Annotated[float, Field(gt=0, le=1)]
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
    rotation_deg: tuple[float, float, float]
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
    cameras_format: Literal["look_at", "nerfstudio", "colmap"]
    camera: Count
    scale: Positive


@section
class ViewsBackgroundConfig:
    """Several views of the background. folder: NNNN.png and NNNN_depth.exr (or others) of every camera, counted from
    1; cameras, cameras_format: their file; camera: which of them took the photo. scale: metres a unit of both."""

    folder: str | None
    cameras: str | None
    cameras_format: Literal["look_at", "nerfstudio", "colmap"]
    camera: Count
    scale: Positive


@section
class BackgroundConfig:
    """What is behind. horizon: fraction of the height from the top. pad: margin, a fraction of the size, and
    what it shows."""

    method: Literal["ground_and_wall", "depth", "views", "mesh"]
    horizon: float
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
    name: str
    prompt: str
    width: Side
    height: Side
    frames: Count
    fps: Count
    max_faces: Count


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
    view_deg: float | None
    caption: str
    samples: Count


# ---------------------------------------------------------------- render
@section
class RenderConfig:
    """samples: Cycles samples a pixel, for anti-aliased RGB (depth and masks are exact at any number).
    background: the scene's mesh, or its plate on a plane at plane_depth times the foreground's depth in frame 1.
    max_faces: triangles that one mesh may have. folder: of an artist's own renders, taken instead."""

    folder: str | None
    samples: Count
    background: Literal["mesh", "plane"]
    plane_depth: Annotated[float, Field(gt=1)]
    max_faces: Count


@section
class ViewsConfig:
    """Multi-view renders of the foreground: every azimuth at every elevation, degrees from frame 1."""

    size: Side
    samples: Count
    azimuths_deg: Annotated[tuple[float, ...], Field(min_length=1)]
    elevations_deg: Annotated[tuple[float, ...], Field(min_length=1)]
    margin: Fraction


# ---------------------------------------------------------------- models
@section
class ImageLayers:
    """Patterns (fnmatch, on module names of the image UNet) of the layers that features are injected in."""

    attention: Annotated[tuple[str, ...], Field(min_length=1)]
    conv: Annotated[tuple[str, ...], Field(min_length=1)]


@section
class VideoLayers:
    """Patterns of the video UNet's spatial self-attentions and spatio-temporal residual blocks."""

    attention: Annotated[tuple[str, ...], Field(min_length=1)]
    block: Annotated[tuple[str, ...], Field(min_length=1)]


@section
class ImageModelConfig:
    """An SDXL pipeline, optionally another VAE for it, and a depth ControlNet."""

    family: Literal["sdxl"]
    base: WeightsRef
    vae: WeightsRef | None
    controlnet: WeightsRef
    dtype: Dtype
    layers: ImageLayers


@section
class VideoModelConfig:
    """An SVD image-to-video pipeline and a temporal depth ControlNet."""

    family: Literal["svd"]
    base: WeightsRef
    controlnet: WeightsRef
    dtype: Dtype
    decode_frames: Count
    layers: VideoLayers


@section
class RecipeConfig:
    """What a family wants of the other groups, which refer to it: steps, rates, the length of a shot.

    memory_mb: resident memory to ask a cluster for, of a job that runs one of the networks.
    max_batch: images a network call that fit the cards the family is meant for.
    """

    frames: Count
    lora_rank: Count
    lora_steps: Count
    lora_batch: Count
    lora_learning_rate: Positive
    keyframe_steps: Count
    first_keyframe: FirstKeyframe
    inversion_network: Literal["customised", "base"]
    keyframe_guidance: Positive
    negative_prompt: str
    interpolate_steps: Count
    interpolate_guidance: Positive
    interpolate_conditioning: Conditioning
    interp_strength: Fraction
    tau_block: Fraction
    memory_mb: Count
    max_batch: Index


@section
class ModelsConfig:
    """A family of models, its native size (pixels) and segment length (frames), and its recipe."""

    name: str
    width: Side
    height: Side
    segment_frames: Count
    recipe: RecipeConfig
    image: ImageModelConfig
    video: VideoModelConfig


# ---------------------------------------------------------------- lora
@section
class LoraConfig:
    """LoRA customisation (I2V3D, image customisation with multi-view augmentation). lambda_views: weight of
    the multi-view term, 0 for the ablation without it. weights: a ready LoRA file instead of training.
    validation_*: how often a picture is drawn from the prompt, in how many steps, with which guidance."""

    weights: str | None
    prompt: str
    rank: Count
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)]
    resolution: Side
    mirror: bool
    lambda_views: NonNegative
    steps: Count
    batch: Count
    learning_rate: Positive
    weight_decay: NonNegative
    clip_norm: Positive
    checkpoint_every: Count
    validation_every: Count
    validation_steps: Count
    validation_guidance: Positive
    seed: Index


# ---------------------------------------------------------------- keyframes
@section
class KeyframeInversionConfig:
    """DDIM inversion of the coarse keyframes (I2V3D, 3a of the method). network: with the LoRA or without."""

    network: Literal["customised", "base"]
    steps: Count
    prompt: str
    control_scale: NonNegative
    depth_range: DepthRange


@section
class KeyframesConfig:
    """3D-guided keyframe generation. first: whether the first keyframe is generated or the photo itself, which the
    others then attend to. tau_*: fractions of the steps; compat_*: reproduce the released code."""

    steps: Count
    guidance: Positive
    prompt: str
    negative_prompt: str
    control_scale: NonNegative
    depth_range: DepthRange
    first: FirstKeyframe
    injection: bool
    extended_attention: bool
    tau_foreground: Fraction
    tau_background: Fraction
    tau_conv: Fraction
    window: Count
    overlap: Index
    compat_inclusive_tau: bool
    seed: Index


# ---------------------------------------------------------------- interpolate
@section
class InterpolationInversionConfig:
    """EDM inversion of the coarse clip, forward and reversed (4a of the method)."""

    steps: Count
    control_scale: NonNegative
    depth_range: DepthRange
    fps: Count
    motion_bucket: Index
    noise_aug: NonNegative
    compat_unflipped_depth: bool
    seed: Index


@section
class FusionConfig:
    """How the passes from both ends together denoise a segment (i2v3d.diffusion.fusion has the formulas).

    method: both predictions blended with weights, or one pass after the other. power: of the weights 'power'.
    cfg_plus_plus, data_consistency: switches of ViBiDSampler. renoise: repetitions of each of the first
    renoise_until of the steps. distill_until: fraction of the steps in which the reversed pass moves as the
    forward one does. replace_ends: keyframes' latents at both ends. Raises ConfigError for options that the
    method does not read.
    """

    method: Literal["blend", "sequential"]
    weights: Literal["linear", "cosine", "power"]
    power: Positive
    cfg_plus_plus: bool
    data_consistency: bool
    renoise: Index
    renoise_until: Fraction
    distill_until: Fraction
    replace_ends: bool

    def __post_init__(self) -> None:
        if self.method == "blend" and self.data_consistency:
            raise ConfigError(
                "interpolate.fusion.data_consistency belongs to the method sequential, but "
                "interpolate.fusion.method is blend; use interpolate.fusion.replace_ends=true with it"
            )
        if self.method == "sequential" and self.weights != "linear":
            raise ConfigError(
                f"interpolate.fusion.weights is {self.weights}, which the method sequential does not read; "
                "leave it at linear"
            )


@section
class InterpolateConfig:
    """Training-free interpolation guided from both ends (section 4 of the method).

    conditioning: the pictures that guide a segment: its keyframes; chained, where the last frame of the segment
    before takes the first keyframe's place; or the photo and then the last frame of the segment before (one
    stage instead of two, section 5 of the method). Raises ConfigError if the latter is
    asked to guide from both ends, since nothing is known of the last frame.
    """

    segment_frames: Count
    steps: Count
    guidance: Positive
    control_scale: NonNegative
    depth_range: DepthRange
    fps: Count
    motion_bucket: Index
    noise_aug: NonNegative
    conditioning: Conditioning
    direction: Literal["both", "forward"]
    interp_strength: Fraction
    fusion: FusionConfig
    anchor_colour: bool
    injection: bool
    tau_attention: Fraction
    tau_block: Fraction
    compat_unflipped_masks: bool
    compat_scaled_source: bool
    seed: Index

    def __post_init__(self) -> None:
        if self.conditioning == "photo" and self.direction == "both":
            raise ConfigError(
                "interpolate.conditioning is photo, which says nothing of a segment's last frame, but "
                "interpolate.direction is both; set interpolate.direction=forward"
            )
        fused = self.fusion.method != "blend" or self.fusion.renoise or self.fusion.distill_until
        if self.direction == "forward" and fused:
            raise ConfigError(
                "interpolate.fusion asks for a sequential method, renoise or distill_until, but "
                "interpolate.direction is forward, which fuses nothing; set interpolate.direction=both"
            )


# ---------------------------------------------------------------- baselines
@section
class SDEditImageConfig:
    """SDEdit of each coarse frame with the customised image model. strength: fraction of the steps that are
    run, from coarse latents with the noise of that level."""

    strength: Strength
    steps: Count
    guidance: Positive
    prompt: str
    negative_prompt: str
    control_scale: NonNegative
    depth_range: DepthRange
    seed: Index


@section
class SDEditVideoConfig:
    """SDEdit of the coarse clip with the video model, conditioned on the photo and then on the last frame of
    the segment before. strength: as in SDEditImageConfig."""

    strength: Strength
    steps: Count
    guidance: Positive
    control_scale: NonNegative
    depth_range: DepthRange
    fps: Count
    motion_bucket: Index
    noise_aug: NonNegative
    seed: Index


# ---------------------------------------------------------------- assemble
@section
class AssembleConfig:
    """Videos and sheets. frames: the stage whose frames make the video, the method's or a baseline's.
    crf: H.264 quality, lower is better (0 to 51)."""

    frames: FramesOf
    crf: Annotated[int, Field(ge=0, le=51)]
    sheet_columns: Count


# ---------------------------------------------------------------- evaluate
@section
class EstimatorsConfig:
    """Networks that judge pictures; those whose weights are missing are left out, and so are their scores.

    toy: of toy scenes, all in one. Of other scenes: depth and mask. Of all: clip, dino and lpips.
    """

    toy: WeightsRef
    depth: WeightsRef
    mask: WeightsRef
    clip: WeightsRef
    dino: WeightsRef
    lpips: WeightsRef


@section
class EvaluateConfig:
    """Scores of a video. far_m: rendered depth beyond it does not count in the depth error, metres."""

    far_m: Positive
    estimators: EstimatorsConfig


# ---------------------------------------------------------------- how, not what: never part of a key
@section
class RuntimeConfig:
    """device: 'auto' takes a GPU when there is one. max_batch: images a network call, 0 for all at once.
    threads: CPU threads of one job, 0 for what the job scheduler gives."""

    device: str
    max_batch: Index
    threads: Index


@section
class TrackingConfig:
    """Weights & Biases. mode 'offline' never needs a network; WANDB_MODE in the environment wins."""

    mode: Literal["offline", "online", "disabled"]
    project: str
    entity: str | None
