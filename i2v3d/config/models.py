"""The types of the group `models`: one family of image and video networks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from i2v3d.config.bounds import Dtype, Frames, Side
from i2v3d.config.sections import section
from i2v3d.config.weights import WeightsRef


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
    decode_frames: Frames
    layers: VideoLayers


@section
class LoraFileConfig:
    """A LoRA of the user's. strength: 1 as it was trained."""

    file: str
    strength: Annotated[float, Field(ge=-8, le=8)]


@section
class WanVaceNetworks:
    """Transformer, VAE and scheduler of a Wan VACE pipeline. dtype: precision of the transformer. storage: what its
    weights are kept in between calls, None: the same. transformer: a file of the user's, GGUF or safetensors, instead
    of the base's. loras: added to it, one after the other."""

    base: WeightsRef
    dtype: Dtype
    storage: Literal["float8"] | None
    transformer: str | None
    loras: tuple[LoraFileConfig, ...]


@section
class TextEncoderConfig:
    """The text encoder of a video pipeline. max_tokens: longer prompts are cut."""

    base: WeightsRef
    dtype: Dtype
    max_tokens: Annotated[int, Field(ge=1, le=4096)]


@section
class WanVaceConfig:
    """A Wan VACE pipeline. Its text encoder is a network of its own, which no other stage loads."""

    family: Literal["wan_vace"]
    networks: WanVaceNetworks
    text: TextEncoderConfig


@section
class ModelsConfig:
    """A family of models: its native size (pixels), and the length of a segment and of a shot (frames)."""

    name: str
    width: Side
    height: Side
    segment_frames: Frames
    frames: Frames
    image: ImageModelConfig
    video: Annotated[VideoModelConfig | WanVaceConfig, Field(discriminator="family")]
