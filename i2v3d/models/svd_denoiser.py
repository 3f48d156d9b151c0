"""Stable Video Diffusion with its temporal depth ControlNet as one network: noisy clips in, clean clips out.

Shapes: B clips of F frames, C latent channels, (h, w) latent size, (H, W) pixels, D embedding width.
A clip is never split, since temporal layers couple its frames; several clips share a network call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from i2v3d.diffusion import edm
from i2v3d.models.svd import PictureCondition
from i2v3d.models.temporal_controlnet import denoise_with_residuals


@dataclass(frozen=True)
class ClipCondition:
    """What the networks know about B clips.

    embedding: (B, 1, D) of the conditioning picture; image_latents: (B, C, h, w) of it, the same for all
    frames; time_ids: (B, 3); control: (B, F, C_0, h, w), the ControlNet's embedded depth.
    """

    embedding: Tensor
    image_latents: Tensor
    time_ids: Tensor
    control: Tensor

    def rows(self, index: Tensor | slice) -> ClipCondition:
        """The conditions of some clips."""
        return ClipCondition(*(getattr(self, f.name)[index] for f in fields(self)))

    def reversed(self) -> ClipCondition:
        """The same of the clips played backwards: depth is all that belongs to single frames."""
        return replace(self, control=self.control.flip(1))

    def unconditional(self) -> ClipCondition:
        """The same without the picture: zero embedding and latents, as SVD drops it in training."""
        return ClipCondition(
            torch.zeros_like(self.embedding),
            torch.zeros_like(self.image_latents),
            self.time_ids,
            self.control,
        )

    @staticmethod
    def join(parts: Sequence[ClipCondition]) -> ClipCondition:
        """The clips of several conditions, one after the other."""
        return ClipCondition(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(ClipCondition)))


@dataclass(frozen=True)
class ClipDenoiser:
    """UNet and depth ControlNet as D(x, sigma), a `Network` that predicts the clean latents.

    control_scale: strength of the ControlNet, 0 leaves it out. The networks run in their own precision; latents are
    float32 in and out.
    """

    unet: Any
    controlnet: Any
    control_scale: float

    @property
    def layers(self) -> nn.Module:
        """The UNet."""
        unet: nn.Module = self.unet
        return unet

    def condition(self, picture: PictureCondition, time_ids: Tensor, control: Tensor) -> ClipCondition:
        """The condition of one clip. time_ids: (3,), `added_time_ids`; control: (1, F, C_0, h, w)."""
        return ClipCondition(picture.embedding[None], picture.latents[None], time_ids[None], control)

    def control(self, depth: Tensor) -> Tensor:
        """Features (1, F, C_0, h, w) of depth pictures (F, 3, H, W) in [-1, 1], near is bright."""
        pixels = depth.to(self.controlnet.device, self.controlnet.dtype)
        features: Tensor = self.controlnet.embed_condition(pixels[None])
        return features

    def __call__(self, x: Tensor, level: float, condition: ClipCondition) -> Tensor:
        """Denoised latents of B clips. x: (B, F, C, h, w) at noise level sigma, which is `level`."""
        sample, timestep, embedding, time_ids, control = self.network_arguments(x, level, condition)
        arguments = (sample, timestep, embedding, time_ids)
        residuals = None
        if self.control_scale != 0:
            residuals = self.controlnet(*arguments, control, self.control_scale, embedded=True)
        velocity = denoise_with_residuals(self.unet, *arguments, residuals)
        return edm.denoised_from_velocity(velocity.float(), x, level)

    def network_arguments(
        self, x: Tensor, sigma: float, condition: ClipCondition
    ) -> tuple[Tensor, float, Tensor, Tensor, Tensor]:
        """What the networks are given: scaled input with the pictures, timestep, embedding, time ids, control."""
        dtype = self.unet.dtype
        pictures = condition.image_latents[:, None].expand(-1, x.shape[1], -1, -1, -1)
        network_input = torch.cat([edm.scaled_input(x, sigma), pictures], dim=2).to(dtype)
        embedding = condition.embedding.to(dtype)
        return network_input, edm.timestep(sigma), embedding, condition.time_ids, condition.control

    def in_chunks(self, x: Tensor, level: float, condition: ClipCondition, max_batch: int) -> Tensor:
        """The same with at most `max_batch` images a network call (0: no limit), but one clip at least."""
        clips = max(1, max_batch // x.shape[1]) if max_batch else len(x)
        parts = [
            self(x[i : i + clips], level, condition.rows(slice(i, i + clips)))
            for i in range(0, len(x), clips)
        ]
        return torch.cat(parts) if len(parts) > 1 else parts[0]
