"""The coarse renders of some frames as arrays: what every sampling stage starts from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from i2v3d.artifacts.folders import frame_name, list_frames, require
from i2v3d.config.bounds import DepthRange
from i2v3d.diffusion.depth import disparity_conditioning
from i2v3d.errors import ArtifactError
from i2v3d.images import read_depth, read_mask, read_rgb


@dataclass(frozen=True)
class Renders:
    """Coarse passes of N frames.

    frames: their 1-based numbers. rgb: (N, H, W, 3) uint8. depth: (N, H, W) float32 in [0, 1], near is
    bright. visible, foreground: (N, H, W) bool, where any surface and where the foreground object is seen.
    """

    frames: tuple[int, ...]
    rgb: NDArray[np.uint8]
    depth: torch.Tensor
    visible: torch.Tensor
    foreground: torch.Tensor

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


def frame_count(render: Path) -> int:
    """How many frames T the render stage made. Raises ArtifactError if one of 1 ... T is missing."""
    require(render, "rgb", "depth", "mask", "fg_mask", "cameras.json")
    frames = list_frames(render / "rgb")
    if frames != list(range(1, frames[-1] + 1)):
        lacking = next(n for n in range(1, frames[-1]) if n not in frames)
        raise ArtifactError(f"{render}/rgb lacks {frame_name(lacking)}; delete {render} and re-run render")
    return frames[-1]


def read_renders(render: Path, frames: Sequence[int], depth_range: DepthRange) -> Renders:
    """Reads the passes of `frames` from the render stage's folder.

    depth_range: see `disparity_conditioning`; the shot's range is the one that render wrote for all frames.
    Raises ArtifactError if a file is missing or its size differs from the other ones'.
    """
    rgb = [read_rgb(render / "rgb" / frame_name(n)) for n in frames]
    depth_m = [read_depth(render / "depth" / frame_name(n, "exr")) for n in frames]
    visible = [read_mask(render / "mask" / frame_name(n)) for n in frames]
    foreground = [read_mask(render / "fg_mask" / frame_name(n)) for n in frames]
    size = rgb[0].shape[:2]
    passes: dict[str, Sequence[NDArray[Any]]]
    passes = {"rgb": rgb, "depth": depth_m, "mask": visible, "fg_mask": foreground}
    for folder, pictures in passes.items():
        for n, picture in zip(frames, pictures, strict=True):
            _check_size(render / folder / frame_name(n), picture, size)
    return Renders(
        frames=tuple(frames),
        rgb=np.stack(rgb),
        depth=disparity_conditioning(
            torch.from_numpy(np.stack(depth_m)), depth_range, shot_depth_range_m(render)
        ),
        visible=torch.from_numpy(np.stack(visible)),
        foreground=torch.from_numpy(np.stack(foreground)),
    )


def _check_size(path: Path, picture: NDArray[Any], size: tuple[int, ...]) -> None:
    if picture.shape[:2] != size:
        raise ArtifactError(
            f"{path} is {picture.shape[1]}x{picture.shape[0]} but the first frame is {size[1]}x{size[0]}; "
            "delete the folder and re-run render"
        )


def shot_depth_range_m(render: Path) -> tuple[float, float]:
    """(near, far) in metres over the whole shot. Raises ArtifactError if render did not write it."""
    path = render / "cameras.json"
    try:
        near, far = json.loads(path.read_text())["depth_range_m"]
        return float(near), float(far)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} holds no depth_range_m; delete {render} and re-run render") from error
