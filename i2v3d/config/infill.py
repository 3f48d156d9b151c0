"""The types of the groups `text` and `infill`: a video model that fills in what lies between known frames."""

from __future__ import annotations

from typing import Literal

from i2v3d.config.bounds import DepthRange, Frames, Guidance, Index, Scale, Steps
from i2v3d.config.sections import section
from i2v3d.errors import ConfigError


@section
class TextConfig:
    """What the video model is told in words."""

    prompt: str
    negative_prompt: str


@section
class InfillConfig:
    """Segments filled in between their keyframes under the control of the render.

    keyframes: whose pictures are kept: generated or true ones at both ends of a segment, or the photo alone at the
    start of the shot. start: what a segment but the first begins with: its keyframe; the last frame of the segment
    before; or the last `overlap` + 1 frames of it, which are kept. control: the pass between the ends. keep: what else
    of the render is kept. ends: how many frames are known at a kept keyframe; two: its neighbour as well, by the
    render's motion. paste: what is put back of the known pixels, which the autoencoder changes. Raises ConfigError
    for a start that nothing is known of.
    """

    segment_frames: Frames
    keyframes: Literal["generated", "truth", "photo"]
    start: Literal["keyframe", "previous", "overlap"]
    overlap: Frames
    control: Literal["depth", "grey", "flow", "lines", "none"]
    keep: Literal["nothing", "background"]
    ends: Literal["one", "two"]
    reference: bool
    paste: Literal["nothing", "frames", "pixels"]
    depth_range: DepthRange
    control_scale: Scale
    steps: Steps
    guidance: Guidance
    flow_shift: Guidance
    seed: Index

    def __post_init__(self) -> None:
        if self.start == "overlap" and self.overlap >= self.segment_frames:
            raise ConfigError(
                f"infill.overlap is {self.overlap}, but a segment has {self.segment_frames} frames; use fewer"
            )
        if self.keyframes == "photo" and self.start == "keyframe":
            raise ConfigError(
                "the photo alone (keyframes.source, infill.keyframes) says nothing of later segments' first frames, "
                "but infill.start is keyframe; set infill.start=overlap or infill.start=previous"
            )
