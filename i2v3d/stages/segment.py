"""What the stages of one segment read and hand on: the coarse clip, its inversion, picture conditions.

Shapes: F frames of the segment, both of its keyframes included; S steps; C latent channels; (h, w) latent
size; (H, W) pixels; D width of the image embedding.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from i2v3d.artifacts import frame_name, keyframe_numbers, list_frames, require, segment_frame_numbers
from i2v3d.diffusion.depth import disparity_conditioning
from i2v3d.errors import ArtifactError
from i2v3d.images import read_depth, read_mask, read_rgb
from i2v3d.models.svd import VideoModels, conditioning_latents, embed_image
from i2v3d.randomness import noise

LATENTS_FILE = "latents.safetensors"


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
class PictureCondition:
    """A conditioning picture as the video networks take it. embedding: (1, D); latents: (C, h, w)."""

    embedding: Tensor
    latents: Tensor


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

    def direction(self, backwards: bool) -> tuple[PictureCondition, Tensor]:
        """Condition and latents (S + 1, F, C, h, w) of the forward or the reversed inversion."""
        if backwards:
            return PictureCondition(self.reversed_embedding, self.reversed_latents), self.reversed
        return PictureCondition(self.forward_embedding, self.forward_latents), self.forward

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
        except (SafetensorError, OSError, TypeError) as error:
            raise ArtifactError(
                f"{folder / LATENTS_FILE} is not an inversion ({error}); delete {folder} and re-run its stage"
            ) from error


def read_coarse_clip(
    render: Path, segment_frames: int, segment: int, depth_range: Literal["shot", "frame"]
) -> CoarseClip:
    """The renders of the 0-based `segment` of a shot that is cut into segments of `segment_frames`.

    depth_range: what disparity is scaled by, see `disparity_conditioning`. Raises ArtifactError if a
    frame is missing, unreadable or of another size.
    """
    require(render, "rgb", "depth", "mask", "cameras.json")
    keyframes = keyframe_numbers(len(list_frames(render / "rgb")), segment_frames)
    if segment >= len(keyframes) - 1:
        raise ArtifactError(
            f"segment {segment} of {render} does not exist; its shot has segments 0 to {len(keyframes) - 2}"
        )
    numbers = segment_frame_numbers(keyframes, segment)
    rgb = torch.stack([read_picture(render / "rgb" / frame_name(n)) for n in numbers])
    depth_m = np.stack([read_depth(render / "depth" / frame_name(n, "exr")) for n in numbers])
    visible = np.stack([read_mask(render / "mask" / frame_name(n)) for n in numbers])
    for name, maps in (("depth", depth_m), ("mask", visible)):
        if maps.shape[-2:] != rgb.shape[-2:]:
            raise ArtifactError(
                f"{render / name} has frames of {maps.shape[-1]}x{maps.shape[-2]}, rgb of "
                f"{rgb.shape[-1]}x{rgb.shape[-2]}; delete {render} and re-run its stage"
            )
    disparity = disparity_conditioning(torch.from_numpy(depth_m), depth_range, _shot_depth_range(render))
    depth = (2 * disparity - 1)[:, None].expand(-1, 3, -1, -1)
    return CoarseClip(numbers, rgb, depth, torch.from_numpy(visible))


def _shot_depth_range(render: Path) -> tuple[float, float]:
    """Nearest and farthest depth in metres that any frame of the shot sees, as the render recorded it."""
    path = render / "cameras.json"
    try:
        near, far = json.loads(path.read_text())["depth_range_m"]
        return float(near), float(far)
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path} holds no depth_range_m ({error}); delete {render} and re-run its stage"
        ) from error


def read_picture(path: Path) -> Tensor:
    """A picture file as (3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(read_rgb(path).copy()).permute(2, 0, 1).float() / 127.5 - 1


def picture_condition(
    models: VideoModels, picture: Tensor, frame: int, noise_aug: float, seed: int
) -> PictureCondition:
    """Embedding and noise-augmented latents of a picture (3, H, W) in [-1, 1] that stands for `frame`.

    The noise depends on seed and frame only, so a keyframe and the coarse render of its frame share it.
    """
    augmentation = noise(tuple(picture.shape), seed, "noise augmentation", frame)
    return PictureCondition(
        embed_image(models, picture), conditioning_latents(models, picture, augmentation, noise_aug)
    )
