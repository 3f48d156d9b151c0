"""The coarse renders of some frames as arrays: what every sampling stage starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.config.bounds import DepthRange
from i2v3d.diffusion.depth import disparity_conditioning


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
    return RenderFolder(render).frame_count()


def read_renders(render: Path, frames: Sequence[int], depth_range: DepthRange) -> Renders:
    """Reads the passes of `frames` from the render stage's folder.

    depth_range: see `disparity_conditioning`; the shot's range is the one that render wrote for all frames.
    Raises ArtifactError if a file is missing or its size differs from the other ones'.
    """
    folder = RenderFolder(render)
    passes = folder.passes(frames)
    depth_m = torch.from_numpy(passes.depth_m)
    return Renders(
        frames=tuple(frames),
        rgb=passes.rgb,
        depth=disparity_conditioning(depth_m, depth_range, folder.depth_range_m()),
        visible=torch.from_numpy(passes.visible),
        foreground=torch.from_numpy(passes.foreground),
    )
