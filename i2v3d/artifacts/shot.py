"""A finished shot: the frames of its segments, and everything that its render prescribes about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.errors import ArtifactError
from i2v3d.geometry.cameras import Array
from i2v3d.geometry.correspondence import Motion, rendered_motion
from i2v3d.images import read_rgb


@dataclass(frozen=True)
class Control:
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


def read_pictures(paths: Sequence[Path]) -> Tensor:
    """Picture files as (N, 3, H, W) float32 in [0, 1]. Raises ArtifactError if their sizes differ."""
    pictures = [read_rgb(path) for path in paths]
    for path, picture in zip(paths, pictures, strict=True):
        if picture.shape != pictures[0].shape:
            raise ArtifactError(
                f"{path} is {picture.shape[1]}x{picture.shape[0]} but {paths[0]} {pictures[0].shape[1]}x"
                f"{pictures[0].shape[0]}; delete its folder and re-run its stage"
            )
    return _unit(np.stack(pictures))


def read_control(render: Path, frames: int, numbers: Sequence[int] | None = None) -> Control:
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
    return Control(
        rgb=_unit(passes.rgb),
        depth_m=torch.from_numpy(passes.depth_m),
        foreground=torch.from_numpy(passes.foreground),
        flow_px=flow,
        lenses=cameras.K[at],
        poses=cameras.w2c[at],
    )


def _unit(rgb: NDArray[np.uint8]) -> Tensor:
    """Pictures (N, H, W, 3) uint8 -> (N, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(rgb).permute(0, 3, 1, 2).float() / 255
