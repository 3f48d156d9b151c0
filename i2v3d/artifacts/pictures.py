"""Picture files as tensors, in the two ranges that networks and scores take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2v3d.errors import ArtifactError
from i2v3d.images import read_rgb


def read_pictures(paths: Sequence[Path]) -> Tensor:
    """Picture files as (N, 3, H, W) float32 in [0, 1]. Raises ArtifactError if their sizes differ."""
    pictures = [read_rgb(path) for path in paths]
    for path, picture in zip(paths, pictures, strict=True):
        if picture.shape != pictures[0].shape:
            raise ArtifactError(
                f"{path} is {picture.shape[1]}x{picture.shape[0]} but {paths[0]} {pictures[0].shape[1]}x"
                f"{pictures[0].shape[0]}; delete its folder and re-run its stage"
            )
    return unit_pictures(np.stack(pictures))


def read_signed_picture(path: Path) -> Tensor:
    """A picture file as (3, H, W) float32 in [-1, 1]."""
    return signed_pictures(read_rgb(path)[None])[0]


def unit_pictures(rgb: NDArray[np.uint8]) -> Tensor:
    """Pictures (N, H, W, 3) uint8 -> (N, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(rgb).permute(0, 3, 1, 2).float() / 255


def signed_pictures(rgb: NDArray[np.uint8]) -> Tensor:
    """Pictures (N, H, W, 3) uint8 -> (N, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(rgb.copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
