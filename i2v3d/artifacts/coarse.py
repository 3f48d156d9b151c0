"""The coarse passes as stages take them: some frames for the image model, a segment for the video model, a shot with
its cameras for judging a video.

Shapes: N frames, F of a segment with both of its keyframes, T of the shot; (H, W) pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2v3d.artifacts.folders import keyframe_numbers, segment_frame_numbers
from i2v3d.artifacts.pictures import read_signed_picture, signed_pictures, unit_pictures
from i2v3d.artifacts.render_folder import COLOUR, RenderFolder
from i2v3d.config.bounds import DepthRange, RenderLight
from i2v3d.diffusion.depth import disparity_conditioning
from i2v3d.errors import ArtifactError
from i2v3d.geometry.cameras import Array
from i2v3d.geometry.correspondence import Motion, rendered_motion


@dataclass(frozen=True)
class Renders:
    """Coarse passes of N frames.

    frames: their 1-based numbers. rgb: (N, H, W, 3) uint8. depth: (N, H, W) float32 in [0, 1], near is
    bright. visible, foreground: (N, H, W) bool, where any surface and where the foreground object is seen.
    """

    frames: tuple[int, ...]
    rgb: NDArray[np.uint8]
    depth: Tensor
    visible: Tensor
    foreground: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Pixels (H, W)."""
        return self.height, self.width

    @property
    def height(self) -> int:
        """Pixels H."""
        return int(self.rgb.shape[1])

    @property
    def width(self) -> int:
        """Pixels W."""
        return int(self.rgb.shape[2])


@dataclass(frozen=True)
class CoarseClip:
    """The renders of a segment, in the order of the shot.

    numbers: the F frame numbers. rgb: (F, 3, H, W) in [-1, 1]. depth: (F, 3, H, W) in [-1, 1], disparity,
    near is bright. visible: (F, H, W) bool, where any reconstructed surface is seen.
    """

    numbers: list[int]
    rgb: Tensor
    depth: Tensor
    visible: Tensor


@dataclass(frozen=True)
class CoarseShot:
    """What the render of a shot of T frames prescribes.

    rgb (T, 3, H, W) in [0, 1], the coarse render; depth_m (T, H, W), inf where nothing is seen; foreground (T, H, W)
    bool; flow_px (T - 1, H, W, 2), None if the renders came without it; lenses (T, 3, 3); poses (T, 4, 4), world to
    camera.
    """

    rgb: Tensor
    depth_m: Tensor
    foreground: Tensor
    flow_px: Tensor | None
    lenses: Array
    poses: Array

    def motion(self) -> Motion | None:
        """How surfaces and sky move from frame to frame; None without flow."""
        if self.flow_px is None:
            return None
        return rendered_motion(self.flow_px, self.depth_m, self.foreground, self.lenses, self.poses)


def read_renders(
    render: Path, frames: Sequence[int], depth_range: DepthRange, light: RenderLight = "flat"
) -> Renders:
    """Reads the passes of `frames` from the render stage's folder.

    depth_range: see `disparity_conditioning`; the shot's range is the one that render wrote for all frames. light:
    which colour. Raises ArtifactError if a file is missing or its size differs from the other ones'.
    """
    folder = RenderFolder(render)
    passes = folder.passes(frames, COLOUR[light])
    depth_m = torch.from_numpy(passes.depth_m)
    return Renders(
        frames=tuple(frames),
        rgb=passes.rgb,
        depth=disparity_conditioning(depth_m, depth_range, folder.depth_range_m()),
        visible=torch.from_numpy(passes.visible),
        foreground=torch.from_numpy(passes.foreground),
    )


def read_coarse_clip(
    render: Path,
    segment_frames: int,
    segment: int,
    depth_range: DepthRange,
    light: RenderLight = "flat",
) -> CoarseClip:
    """The renders of the 0-based `segment` of a shot that is cut into segments of `segment_frames`.

    depth_range: what disparity is scaled by, see `disparity_conditioning`. light: which colour. Raises ConfigError if
    the shot does not fit the segments, ArtifactError if it has no such segment or a file is missing or misfits.
    """
    keyframes = keyframe_numbers(RenderFolder(render).frame_count(), segment_frames)
    if segment >= len(keyframes) - 1:
        raise ArtifactError(
            f"segment {segment} of {render} does not exist: its shot has segments 0 to {len(keyframes) - 2}; "
            "run snakemake again, which plans them"
        )
    numbers = segment_frame_numbers(keyframes, segment)
    renders = read_renders(render, numbers, depth_range, light)
    depth = (2 * renders.depth - 1)[:, None].expand(-1, 3, -1, -1)
    return CoarseClip(numbers, signed_pictures(renders.rgb), depth, renders.visible)


def read_end_picture(path: Path, size: tuple[int, int]) -> Tensor:
    """A picture that stands for a frame of a clip of size (H, W), as (3, H, W) in [-1, 1].

    Raises ArtifactError for another size than the render's.
    """
    picture, (height, width) = read_signed_picture(path), size
    if picture.shape[1:] != size:
        raise ArtifactError(
            f"{path} is {picture.shape[-1]}x{picture.shape[-2]} but the render is {width}x{height}; "
            f"delete {path.parent} and re-run its stage"
        )
    return picture


def read_coarse_shot(render: Path, frames: int, numbers: Sequence[int] | None = None) -> CoarseShot:
    """Reads the render stage's folder of a shot of `frames` frames.

    numbers: those to read, one after the other, counted from 1; all without. Raises ArtifactError if a file is
    missing or broken, or there is not one camera for each of the frames.
    """
    folder = RenderFolder(render)
    numbers = range(1, frames + 1) if numbers is None else numbers
    passes, cameras = folder.passes(numbers), folder.cameras()
    if len(cameras.frames) != frames:
        raise ArtifactError(
            f"{render} has {len(cameras.frames)} cameras but the shot {frames} frames; delete {render} and re-run"
        )
    flow = None
    if len(numbers) > 1 and folder.has_flow:
        flow = torch.from_numpy(np.stack([folder.flow_px(n) for n in numbers[:-1]]))
    at = [number - 1 for number in numbers]
    return CoarseShot(
        rgb=unit_pictures(passes.rgb),
        depth_m=torch.from_numpy(passes.depth_m),
        foreground=torch.from_numpy(passes.foreground),
        flow_px=flow,
        lenses=cameras.K[at],
        poses=cameras.w2c[at],
    )
