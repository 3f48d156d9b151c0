"""SDXL with a depth ControlNet as one network: latents, timestep and conditions in, noise out.

Prompt encoding and micro-conditioning as SDXL defines them, the VAE in float32. The networks' own
configurations say latent channels, VAE factor and widths; nothing here knows one by heart.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from i2v3d.artifacts.tensors import require_finite
from i2v3d.models.memory import limited
from i2v3d.models.sdxl_weights import (
    LORA_FILE,
    ImageModels,
    TextEncoders,
    check_size,
    load_guided_models,
    load_image_models,
    load_lora,
    take_depth_embedding,
)

__all__ = [
    "LORA_FILE",
    "ImageCondition",
    "ImageDenoiser",
    "ImageModels",
    "PromptEmbedding",
    "TextEncoders",
    "check_size",
    "decode_latents",
    "denoise",
    "embed_depth",
    "encode_images",
    "encode_prompts",
    "frame_condition",
    "load_guided_models",
    "load_image_models",
    "load_lora",
    "micro_conditioning",
    "take_depth_embedding",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PromptEmbedding:
    """text: (rows, tokens, width) of both encoders; pooled: (rows, width) of the second one."""

    text: torch.Tensor
    pooled: torch.Tensor

    def repeat(self, prompt: int, rows: int) -> PromptEmbedding:
        """One of the encoded prompts for many rows, without copies."""
        text, pooled = self.text[prompt : prompt + 1], self.pooled[prompt : prompt + 1]
        return PromptEmbedding(text.expand(rows, -1, -1), pooled.expand(rows, -1))


@dataclass(frozen=True)
class ImageCondition:
    """What the denoiser knows besides latents and timestep; every tensor has one row a latent.

    text, pooled: as in PromptEmbedding. time_ids: (rows, 6), `micro_conditioning`. control: embedded
    depth (rows, C', h, w), `embed_depth`; None leaves the ControlNet out. control_scale: its strength.
    """

    text: torch.Tensor
    pooled: torch.Tensor
    time_ids: torch.Tensor
    control: torch.Tensor | None
    control_scale: float

    def rows(self, index: torch.Tensor | slice) -> ImageCondition:
        """The condition of some rows."""
        control = None if self.control is None else self.control[index]
        return ImageCondition(
            self.text[index], self.pooled[index], self.time_ids[index], control, self.control_scale
        )

    @staticmethod
    def join(branches: Sequence[ImageCondition]) -> ImageCondition:
        """The conditions of several branches, one after the other."""
        controls = [b.control for b in branches if b.control is not None]
        return ImageCondition(
            torch.cat([b.text for b in branches]),
            torch.cat([b.pooled for b in branches]),
            torch.cat([b.time_ids for b in branches]),
            torch.cat(controls) if controls else None,
            branches[0].control_scale,
        )


@torch.no_grad()
def encode_prompts(models: ImageModels, prompts: Sequence[str]) -> PromptEmbedding:
    """Prompts as SDXL reads them: both encoders' penultimate states side by side, the second's pooled one.

    A prompt that does not fit the tokenizer is cut, with a warning in the log. Source: SDXL, section 2.1.
    """
    assert models.text is not None, "load the part 'text'"
    states, pooled, cut = [], torch.empty(0), set[str]()
    for tokenizer, encoder in zip(models.text.tokenizers, models.text.encoders, strict=True):
        length = tokenizer.model_max_length
        cut.update(p for p in prompts if len(tokenizer(p, verbose=False).input_ids) > length)
        tokens = tokenizer(
            list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        output = encoder(tokens.input_ids.to(models.device), output_hidden_states=True)
        states.append(output.hidden_states[-2])
        pooled = output[0]
    for prompt in sorted(cut):
        log.warning("the text encoders cannot read the end of the prompt '%s': too many tokens", prompt)
    return PromptEmbedding(torch.cat(states, dim=-1), pooled)


def micro_conditioning(
    original: tuple[int, int], crop: tuple[int, int], target: tuple[int, int]
) -> torch.Tensor:
    """SDXL's added time ids, (6,): original size, top-left of the crop, target size, each height first."""
    return torch.tensor([*original, *crop, *target], dtype=torch.float32)


@torch.no_grad()
def embed_depth(models: ImageModels, depth: torch.Tensor, max_batch: int) -> torch.Tensor:
    """Depth maps (N, H, W) in [0, 1], near is bright -> the ControlNet's features of them (N, C', h, w)."""
    pixels = depth.to(models.device, models.dtype)[:, None].expand(-1, 3, -1, -1)
    return torch.cat([models.depth_embedding(chunk) for chunk in pixels.split(max_batch or len(pixels))])


def frame_condition(
    models: ImageModels,
    prompt: PromptEmbedding,
    size: tuple[int, int],
    control: torch.Tensor,
    control_scale: float,
) -> ImageCondition:
    """The condition of uncropped frames of `size` (H, W). prompt: one row a frame; control: `embed_depth`.

    control_scale 0 leaves the ControlNet out, which computes the same.
    """
    rows = len(prompt.text)
    return ImageCondition(
        text=prompt.text,
        pooled=prompt.pooled,
        time_ids=micro_conditioning(size, (0, 0), size).to(models.device).expand(rows, -1),
        control=control if control_scale else None,
        control_scale=control_scale,
    )


@torch.no_grad()
def encode_images(models: ImageModels, rgb: NDArray[np.uint8], max_batch: int) -> torch.Tensor:
    """Pictures (N, H, W, 3) uint8 -> scaled latents (N, C, h, w) float32: the posterior's mean."""
    pixels = torch.from_numpy(np.ascontiguousarray(rgb)).permute(0, 3, 1, 2)
    shift = getattr(models.vae.config, "shift_factor", None) or 0.0
    latents = []
    for chunk in pixels.split(limited(max_batch, models.memory.coding) or len(pixels)):
        mean = models.vae.encode(chunk.to(models.device).float() / 127.5 - 1).latent_dist.mode()
        latents.append((mean - shift) * models.vae.config.scaling_factor)
    return torch.cat(latents).contiguous()


@torch.no_grad()
def decode_latents(models: ImageModels, latents: torch.Tensor, max_batch: int) -> NDArray[np.uint8]:
    """Scaled latents (N, C, h, w) -> pictures (N, H, W, 3) uint8, decoded in float32."""
    shift = getattr(models.vae.config, "shift_factor", None) or 0.0
    pictures = []
    for chunk in latents.split(limited(max_batch, models.memory.coding) or len(latents)):
        pixels = models.vae.decode(chunk.float() / models.vae.config.scaling_factor + shift).sample
        require_finite(pixels, "decoded pictures")
        levels = ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        pictures.append(levels.permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(pictures)


@dataclass(frozen=True)
class ImageDenoiser:
    """UNet and depth ControlNet as eps(x, t), a `Network` that predicts the noise.

    controlnet: reads features of depth instead of pixels, see `take_depth_embedding`. The networks run in `dtype`;
    latents are float32 in and out.
    """

    unet: Any
    controlnet: Any
    dtype: torch.dtype

    @staticmethod
    def of(models: ImageModels) -> ImageDenoiser:
        """The denoiser of a loaded pipeline."""
        return ImageDenoiser(models.unet, models.controlnet, models.dtype)

    @property
    def layers(self) -> nn.Module:
        """The UNet."""
        unet: nn.Module = self.unet
        return unet

    @torch.no_grad()
    def __call__(
        self, x: torch.Tensor, level: float | torch.Tensor, condition: ImageCondition
    ) -> torch.Tensor:
        """The noise predicted in x (rows, C, h, w) at the timestep `level`, a number or (1,) on the device."""
        added = {
            "text_embeds": condition.pooled.to(self.dtype),
            "time_ids": condition.time_ids.to(self.dtype),
        }
        latents, text = x.to(self.dtype), condition.text.to(self.dtype)
        timesteps = on_device(level, x).expand(len(x))
        residuals: dict[str, Any] = {}
        if condition.control is not None:
            down, mid = self.controlnet(
                latents,
                timesteps,
                encoder_hidden_states=text,
                controlnet_cond=condition.control.to(self.dtype),
                conditioning_scale=condition.control_scale,
                added_cond_kwargs=added,
                return_dict=False,
            )
            residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
        prediction = self.unet(
            latents,
            timesteps,
            encoder_hidden_states=text,
            added_cond_kwargs=added,
            return_dict=False,
            **residuals,
        )[0]
        return prediction.float()

    def in_chunks(
        self, x: torch.Tensor, level: float, condition: ImageCondition, max_batch: int
    ) -> torch.Tensor:
        """The same at most `max_batch` rows a call (0: all), for rows that do not depend on each other."""
        size = max_batch or len(x)
        spans = (slice(start, start + size) for start in range(0, len(x), size))
        return torch.cat([self(x[span], level, condition.rows(span)) for span in spans])


def on_device(level: float | torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A timestep as (1,) where x is. Filled there: a number would be copied, which waits for all that is queued."""
    return level if isinstance(level, torch.Tensor) else torch.full((1,), level, device=x.device)


def denoise(
    models: ImageModels, x: torch.Tensor, timestep: float | torch.Tensor, cond: ImageCondition
) -> torch.Tensor:
    """The noise that the networks of a pipeline predict in x (rows, C, h, w), see `ImageDenoiser`."""
    return ImageDenoiser.of(models)(x, timestep, cond)
