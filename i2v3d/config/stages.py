"""What each stage is configured by: sections of the groups, and where in the composed configuration they stand.

A stage that takes one section as it is has no type of its own here: the registry names the section.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from i2v3d.config.bounds import Frames, Index
from i2v3d.config.evaluate import EvaluateConfig
from i2v3d.config.infill import InfillConfig, TextConfig
from i2v3d.config.interpolate import InterpolateConfig, InterpolationInversionConfig, SDEditVideoConfig
from i2v3d.config.keyframes import KeyframeInversionConfig, KeyframesConfig, SDEditImageConfig
from i2v3d.config.lora import LoraConfig
from i2v3d.config.models import ImageModelConfig, TextEncoderConfig, VideoModelConfig, WanVaceNetworks
from i2v3d.config.sections import section


@dataclass(frozen=True)
class Source:
    """Where a stage's option comes from. path: dotted, in the composed configuration. without: keys of what
    stands there that belong to another stage."""

    path: str
    without: tuple[str, ...] = ()

    def cut(self, value: Any) -> Any:
        """The stage's own keys of what stands at `path`."""
        return {k: v for k, v in value.items() if k not in self.without} if self.without else value


ImageModels = Annotated[ImageModelConfig, Source("models.image")]
VideoModels = Annotated[VideoModelConfig, Source("models.video")]
SegmentFrames = Annotated[
    Frames, Source("interpolate.segment_frames")
]  # F, which says which frames are keyframes


@section
class LoraStage:
    """models: what is customised. lora: how."""

    models: ImageModels
    lora: Annotated[LoraConfig, Source("lora")]


@section
class KeyframeInversionStage:
    """What decides the inversion of the coarse keyframes."""

    models: ImageModels
    inversion: Annotated[KeyframeInversionConfig, Source("keyframes.inversion")]
    segment_frames: SegmentFrames


@section
class KeyframesStage:
    """What decides the keyframes."""

    models: ImageModels
    keyframes: Annotated[KeyframesConfig, Source("keyframes", without=("inversion",))]
    segment_frames: SegmentFrames


@section
class InterpolationInversionStage:
    """One segment's job. segment: 0-based, from the job."""

    models: VideoModels
    inversion: Annotated[InterpolationInversionConfig, Source("interpolate.inversion")]
    segment_frames: SegmentFrames
    segment: Index


@section
class InterpolateStage:
    """One segment's job. segment: 0-based, from the job."""

    models: VideoModels
    interpolate: Annotated[InterpolateConfig, Source("interpolate", without=("inversion",))]
    segment: Index


@section
class TextStage:
    """What decides the embedded prompts."""

    models: Annotated[TextEncoderConfig, Source("models.video.text")]
    text: Annotated[TextConfig, Source("text")]


@section
class InfillStage:
    """One segment's job. segment: 0-based, from the job."""

    models: Annotated[WanVaceNetworks, Source("models.video.networks")]
    infill: Annotated[InfillConfig, Source("infill")]
    segment: Index


@section
class CrossFadeStage:
    """What decides the blend of the keyframes."""

    segment_frames: SegmentFrames


@section
class SDEditImageStage:
    """What decides the frames refined one by one."""

    models: ImageModels
    sdedit: Annotated[SDEditImageConfig, Source("sdedit_image")]


@section
class SDEditVideoStage:
    """What decides the frames refined by the video model."""

    models: VideoModels
    sdedit: Annotated[SDEditVideoConfig, Source("sdedit_video")]
    segment_frames: SegmentFrames


@section
class EvaluateStage:
    """What decides the scores."""

    evaluate: Annotated[EvaluateConfig, Source("evaluate")]
    segment_frames: SegmentFrames
