"""The types of the group `interpolate`, of the baseline that refines segments, and of the finished video."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from i2v3d.config.bounds import (
    Count,
    DepthRange,
    Fraction,
    Frames,
    FramesASecond,
    Guidance,
    Index,
    MotionBucket,
    RenderLight,
    Scale,
    Steps,
    Strength,
)
from i2v3d.config.sections import section
from i2v3d.errors import ConfigError

Solver = Literal["euler", "dpmpp_2m"]
FramesOf = Literal["interpolate", "infill", "render", "cross_fade", "sdedit_image", "sdedit_video"]


@section
class InterpolationInversionConfig:
    """EDM inversion of the coarse clip, forward and reversed (4a of the method).

    deferred: only what it starts from is written, and `interpolate` inverts before it samples, so that the features
    that it injects are computed once. Raises ConfigError with compat_unflipped_depth, under which they differ.
    solver: of first or second order. light: of the renders: none, or the photo's (i2v3d.geometry.light).
    """

    light: RenderLight
    steps: Steps
    solver: Solver
    deferred: bool
    control_scale: Scale
    depth_range: DepthRange
    fps: FramesASecond
    motion_bucket: MotionBucket
    noise_aug: Scale
    compat_unflipped_depth: bool
    seed: Index

    def __post_init__(self) -> None:
        if self.deferred and self.compat_unflipped_depth:
            raise ConfigError(
                "interpolate.inversion.deferred reuses the inversion's features, but with compat_unflipped_depth the "
                "source branch sees depth in another order; set one of the two to false"
            )


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
    power: Guidance
    cfg_plus_plus: bool
    data_consistency: bool
    renoise: Annotated[int, Field(ge=0, le=1000)]
    renoise_until: Fraction
    distill_until: Fraction
    replace_ends: bool

    @property
    def steps_once(self) -> bool:
        """Whether each step is taken once, along the guided prediction."""
        return self.method == "blend" and not self.renoise and not self.cfg_plus_plus

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
    stage instead of two, section 5 of the method). anchor: what the frames take over from the pictures that
    guide the last step (i2v3d.guidance.anchoring). drift_foreground, drift_background: of anchor detail with an
    interp_strength below 1: what a segment adds to the error of its last frame, on the object and elsewhere
    (i2v3d.guidance.anchoring.Drift). render_detail, render_light: as of keyframes.
    segment_seeds: instead of `seed`, by segment from 0. solver: of first or second order. unconditional_every: the
    unconditional branch is computed at one step of so many.
    Raises ConfigError if photo is asked to guide from both ends, since nothing is known of the last frame, and for a
    solver whose steps the fusion does not take.
    """

    segment_frames: Frames
    steps: Steps
    solver: Solver
    guidance: Guidance
    unconditional_every: Steps
    control_scale: Scale
    depth_range: DepthRange
    fps: FramesASecond
    motion_bucket: MotionBucket
    noise_aug: Scale
    conditioning: Literal["keyframes", "chained", "photo"]
    direction: Literal["both", "forward"]
    interp_strength: Fraction
    fusion: FusionConfig
    anchor: Literal["none", "colour", "detail"]
    drift_foreground: Fraction
    drift_background: Fraction
    render_detail: Fraction
    render_light: RenderLight
    injection: bool
    tau_attention: Fraction
    tau_block: Fraction
    compat_unflipped_masks: bool
    compat_scaled_source: bool
    seed: Index
    segment_seeds: dict[Index, Index] | None

    def seed_of(self, segment: int) -> int:
        """The seed of a segment's noise."""
        return (self.segment_seeds or {}).get(segment, self.seed)

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
        if self.solver == "dpmpp_2m" and not self.fusion.steps_once:
            raise ConfigError(
                "interpolate.solver is dpmpp_2m, which goes on from one guided prediction a step, but "
                "interpolate.fusion asks for a sequential method, renoise or cfg_plus_plus; set "
                "interpolate.solver=euler"
            )
        if self.unconditional_every > 1 and self.guidance == 1 and not self.fusion.cfg_plus_plus:
            raise ConfigError(
                f"interpolate.unconditional_every is {self.unconditional_every}, but interpolate.guidance is 1, which "
                "has no unconditional branch; leave it at 1"
            )


@section
class SDEditVideoConfig:
    """SDEdit of the coarse clip with the video model, conditioned on the photo and then on the last frame of
    the segment before. strength: as in SDEditImageConfig."""

    strength: Strength
    steps: Steps
    guidance: Guidance
    control_scale: Scale
    depth_range: DepthRange
    fps: FramesASecond
    motion_bucket: MotionBucket
    noise_aug: Scale
    seed: Index


@section
class AssembleConfig:
    """Videos and sheets. frames: the stage whose frames make the video, the method's or a baseline's.
    light: of the coarse renders, where these are the frames. crf: H.264 quality, lower is better (0 to 51)."""

    frames: FramesOf
    light: RenderLight
    crf: Annotated[int, Field(ge=0, le=51)]
    sheet_columns: Count
