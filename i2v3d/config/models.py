"""The types of the group `models`: one family of image and video networks, and the recipe that goes with it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from i2v3d.config.bounds import Count, Dtype, Fraction, Index, Positive, Side
from i2v3d.config.sections import section
from i2v3d.config.weights import WeightsRef

FirstKeyframe = Literal["generated", "photo"]
Conditioning = Literal["keyframes", "chained", "photo"]
Anchor = Literal["none", "colour", "detail"]


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
    interpolate_anchor: Anchor
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
