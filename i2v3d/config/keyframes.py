"""The types of the group `keyframes` and of the baseline that refines frames one by one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from i2v3d.config.bounds import (
    DepthRange,
    Fraction,
    Frames,
    Guidance,
    Index,
    RenderLight,
    Scale,
    Steps,
    Strength,
)
from i2v3d.config.sections import section


@section
class KeyframeInversionConfig:
    """DDIM inversion of the coarse keyframes (I2V3D, 3a of the method). network: with the LoRA or without. light: of
    the renders: none, or the photo's (i2v3d.geometry.light)."""

    network: Literal["customised", "base"]
    light: RenderLight
    steps: Steps
    prompt: str
    control_scale: Scale
    depth_range: DepthRange


@section
class KeyframesConfig:
    """3D-guided keyframe generation. source: whether they are generated; as an oracle of what better ones could bring,
    the true pictures; or the photo alone, for a video model that needs no others. first: whether the first keyframe is
    generated or the photo itself, which the others then attend to. shared: what of each other the keyframes of a window
    attend to. tau_*: fractions of the steps; compat_*: reproduce the released code. solver: of the sampling; its
    inversion is DDIM's. unconditional_every: the unconditional branch is computed at one step of so many.
    cache_interval: the same of the image network's deep features. strength: fraction of the steps that are run, from
    the inversion's noise level there. render_detail: fraction of what the autoencoder loses of the renders that
    keyframes take over, render_colour: of the renders' colours without detail (i2v3d.guidance.anchoring); render_light:
    of renders under which light."""

    steps: Steps
    strength: Strength
    solver: Literal["ddim", "dpmpp_2m"]
    guidance: Guidance
    unconditional_every: Steps
    cache_interval: Steps
    prompt: str
    negative_prompt: str
    control_scale: Scale
    depth_range: DepthRange
    source: Literal["generated", "truth", "photo"]
    first: Literal["generated", "photo"]
    injection: bool
    extended_attention: bool
    shared: Literal["background", "everything"]
    tau_foreground: Fraction
    tau_background: Fraction
    tau_conv: Fraction
    window: Frames
    overlap: Annotated[int, Field(ge=0, le=9999)]
    render_detail: Fraction
    render_colour: Fraction
    render_light: RenderLight
    compat_inclusive_tau: bool
    seed: Index


@section
class SDEditImageConfig:
    """SDEdit of each coarse frame with the customised image model. strength: fraction of the steps that are
    run, from coarse latents with the noise of that level."""

    strength: Strength
    steps: Steps
    guidance: Guidance
    prompt: str
    negative_prompt: str
    control_scale: Scale
    depth_range: DepthRange
    seed: Index
