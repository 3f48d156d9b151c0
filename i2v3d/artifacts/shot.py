"""A finished shot: the frames of its segments, and everything that its render prescribes about them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from i2v3d.artifacts.folders import frame_name
from i2v3d.errors import ArtifactError
from i2v3d.geometry.cameras import Array
from i2v3d.geometry.correspondence import Motion, rendered_motion
from i2v3d.images import read_depth, read_flow, read_mask, read_rgb


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
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def read_control(render: Path, frames: int, numbers: Sequence[int] | None = None) -> Control:
    """Reads the render stage's folder of a shot of `frames` frames.

    numbers: those to read, one after the other, counted from 1; all without. Raises ArtifactError if a file is
    missing or broken.
    """
    numbers = range(1, frames + 1) if numbers is None else numbers
    at = [number - 1 for number in numbers]
    depth = [read_depth(render / "depth" / frame_name(n, "exr")) for n in numbers]
    foreground = [read_mask(render / "fg_mask" / frame_name(n)) for n in numbers]
    flow = None
    if len(numbers) > 1 and (render / "flow").is_dir():
        flow = np.stack([read_flow(render / "flow" / frame_name(n, "exr")) for n in numbers[:-1]])
    lenses, poses = read_cameras(render / "cameras.json", frames)
    return Control(
        rgb=read_pictures([render / "rgb" / frame_name(n) for n in numbers]),
        depth_m=torch.from_numpy(np.stack(depth)),
        foreground=torch.from_numpy(np.stack(foreground)),
        flow_px=None if flow is None else torch.from_numpy(flow),
        lenses=lenses[at],
        poses=poses[at],
    )


def read_cameras(path: Path, frames: int) -> tuple[Array, Array]:
    """Intrinsics (T, 3, 3) and world-to-camera poses (T, 4, 4) of a cameras.json.

    Raises ArtifactError unless it has one camera for each of the frames.
    """
    try:
        data = json.loads(path.read_text())
        lenses, poses = (np.asarray(data[name], dtype=np.float64) for name in ("K", "w2c"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path} holds no cameras ({error}); delete {path.parent} and re-run render"
        ) from error
    if lenses.shape != (frames, 3, 3) or poses.shape != (frames, 4, 4):
        raise ArtifactError(
            f"{path} has {len(lenses)} cameras but the shot {frames} frames; delete {path.parent} and re-run"
        )
    return lenses, poses
