"""What the stages of one segment read and hand on: the coarse clip, its inversion, pictures.

Shapes: F frames of the segment, both of its keyframes included; S steps; C latent channels; (h, w) latent
size; (H, W) pixels; D width of the image embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from i2v3d.artifacts.folders import keyframe_numbers, require, segment_frame_numbers
from i2v3d.artifacts.latents import LATENTS_FILE
from i2v3d.artifacts.renders import frame_count, read_renders
from i2v3d.config.bounds import DepthRange
from i2v3d.errors import ArtifactError, ConfigError, ShapeError
from i2v3d.images import read_rgb


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
class InvertedClip:
    """The EDM inversion of a coarse clip, forward and reversed, with what it was conditioned on.

    sigmas: (S + 1,) ascending. forward, reversed: (S + 1, F, C, h, w) float32, clean latents first, each at
    its own noise level; the reversed clip begins with the segment's last frame. forward_*, reversed_*: the
    condition of each, the coarse first and last frame. time_ids: (3,).
    """

    sigmas: Tensor
    forward: Tensor
    reversed: Tensor
    forward_embedding: Tensor
    forward_latents: Tensor
    reversed_embedding: Tensor
    reversed_latents: Tensor
    time_ids: Tensor

    def __post_init__(self) -> None:
        shape = self.forward.shape
        if len(shape) != 5 or self.reversed.shape != shape or self.sigmas.shape != shape[:1]:
            raise ShapeError(
                f"forward is {tuple(shape)}, reversed {tuple(self.reversed.shape)} and sigmas "
                f"{tuple(self.sigmas.shape)}; expected levels, frames, channels, height, width twice, and the levels"
            )
        for name in ("forward_latents", "reversed_latents"):
            if getattr(self, name).shape != shape[2:]:
                raise ShapeError(f"{name} is {tuple(getattr(self, name).shape)}; expected {tuple(shape[2:])}")

    def save(self, folder: Path) -> None:
        """Writes latents.safetensors."""
        tensors = {f.name: getattr(self, f.name).detach().cpu().contiguous() for f in fields(self)}
        save_file(tensors, folder / LATENTS_FILE)

    @staticmethod
    def load(folder: Path, device: str) -> InvertedClip:
        """Reads latents.safetensors onto `device`. Raises ArtifactError if it is missing or corrupt."""
        require(folder, LATENTS_FILE)
        try:
            return InvertedClip(**load_file(folder / LATENTS_FILE, device=device))
        except (SafetensorError, OSError, TypeError, ShapeError) as error:
            raise ArtifactError(
                f"{folder / LATENTS_FILE} is not an inversion ({error}); delete {folder} and re-run its stage"
            ) from error

    def check(self, folder: Path, numbers: Sequence[int], sigmas: Sequence[float]) -> None:
        """Raises ConfigError unless this is the inversion up to the noise levels `sigmas`, ascending, and ArtifactError
        unless it is that of the frames `numbers`. folder: where it lies."""
        levels, found = torch.tensor(sigmas), self.sigmas.cpu()
        if found.shape != levels.shape or not torch.allclose(found, levels, rtol=1e-4):
            raise ConfigError(
                f"interpolate.steps is {len(levels) - 1} but {folder} was inverted in {len(found) - 1} steps "
                "or at other noise levels; set interpolate.inversion.steps to the same number"
            )
        if self.forward.shape[1] != len(numbers):
            raise ArtifactError(
                f"{folder} holds {self.forward.shape[1]} frames, the segment has {len(numbers)}; "
                "delete the folder and re-run its stage"
            )


def read_coarse_clip(render: Path, segment_frames: int, segment: int, depth_range: DepthRange) -> CoarseClip:
    """The renders of the 0-based `segment` of a shot that is cut into segments of `segment_frames`.

    depth_range: what disparity is scaled by, see `disparity_conditioning`. Raises ConfigError if the shot
    does not fit the segments, ArtifactError if it has no such segment or a file is missing or misfits.
    """
    keyframes = keyframe_numbers(frame_count(render), segment_frames)
    if segment >= len(keyframes) - 1:
        raise ArtifactError(
            f"segment {segment} of {render} does not exist: its shot has segments 0 to {len(keyframes) - 2}; "
            "run snakemake again, which plans them"
        )
    numbers = segment_frame_numbers(keyframes, segment)
    renders = read_renders(render, numbers, depth_range)
    depth = (2 * renders.depth - 1)[:, None].expand(-1, 3, -1, -1)
    return CoarseClip(numbers, _signed(renders.rgb), depth, renders.visible)


def read_picture(path: Path) -> Tensor:
    """A picture file as (3, H, W) float32 in [-1, 1]."""
    return _signed(read_rgb(path)[None])[0]


def read_end_picture(path: Path, clip: CoarseClip) -> Tensor:
    """A picture that stands for a frame of a clip, (3, H, W) in [-1, 1].

    Raises ArtifactError for another size than the render's.
    """
    picture, (height, width) = read_picture(path), clip.rgb.shape[-2:]
    if picture.shape[1:] != (height, width):
        raise ArtifactError(
            f"{path} is {picture.shape[-1]}x{picture.shape[-2]} but the render is {width}x{height}; "
            f"delete {path.parent} and re-run its stage"
        )
    return picture


def _signed(rgb: NDArray[np.uint8]) -> Tensor:
    """Pictures (N, H, W, 3) uint8 -> (N, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(rgb.copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
