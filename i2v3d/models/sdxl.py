"""SDXL with a depth ControlNet behind one contract: latents, timestep and conditions in, noise out.

Loading, prompt encoding and micro-conditioning as SDXL defines them, the VAE in float32. The networks'
own configurations say latent channels, VAE factor and widths; nothing here knows one by heart.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from diffusers.loaders import StableDiffusionXLLoraLoaderMixin
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from i2v3d.config import ImageModelConfig
from i2v3d.errors import InputError, ShapeError, WeightsError
from i2v3d.models.weights import load_network, missing, resolve

log = logging.getLogger(__name__)

Part = Literal["unet", "controlnet", "vae", "text"]
_TEXT_ENCODERS = (
    ("tokenizer", "text_encoder", CLIPTextModel),
    ("tokenizer_2", "text_encoder_2", CLIPTextModelWithProjection),
)


@dataclass(frozen=True)
class TextEncoders:
    """SDXL's two tokenizers and text encoders, in its order."""

    tokenizers: tuple[Any, ...]
    encoders: tuple[Any, ...]


@dataclass(frozen=True)
class ImageModels:
    """The parts of an SDXL pipeline that were asked for, the others None; `device` and `dtype` hold for all
    but the VAE, which is in float32. scheduler: the pipeline's scheduler config."""

    unet: Any
    controlnet: Any
    vae: Any
    text: TextEncoders | None
    scheduler: dict[str, Any]
    device: str
    dtype: torch.dtype

    @property
    def channels(self) -> int:
        """Latent channels C."""
        return int(self.vae.config.latent_channels)

    @property
    def factor(self) -> int:
        """Pixels a latent, f: the VAE halves the size between two of its levels."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def size_multiple(self) -> int:
        """Picture sides must be multiples of this, or the UNet's skips do not meet what it upsamples."""
        return int(self.factor * 2 ** (len(self.unet.config.block_out_channels) - 1))


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

    text, pooled: as in PromptEmbedding. time_ids: (rows, 6), `micro_conditioning`. depth: (rows, 3, H, W)
    in [0, 1], near is bright; None leaves the ControlNet out. control_scale: strength of the ControlNet.
    """

    text: torch.Tensor
    pooled: torch.Tensor
    time_ids: torch.Tensor
    depth: torch.Tensor | None
    control_scale: float

    def rows(self, index: torch.Tensor | slice) -> ImageCondition:
        """The condition of some rows."""
        depth = None if self.depth is None else self.depth[index]
        return ImageCondition(
            self.text[index], self.pooled[index], self.time_ids[index], depth, self.control_scale
        )

    @staticmethod
    def join(branches: Sequence[ImageCondition]) -> ImageCondition:
        """The conditions of several branches, one after the other."""
        depths = [b.depth for b in branches if b.depth is not None]
        return ImageCondition(
            torch.cat([b.text for b in branches]),
            torch.cat([b.pooled for b in branches]),
            torch.cat([b.time_ids for b in branches]),
            torch.cat(depths) if depths else None,
            branches[0].control_scale,
        )


def load_image_models(cfg: ImageModelConfig, device: str, parts: Collection[Part]) -> ImageModels:
    """Loads the `parts` of the pipeline of `cfg` onto `device`, frozen.

    Raises WeightsError if weights are missing, corrupt or of another architecture.
    """
    dtype: torch.dtype = getattr(torch, cfg.dtype)
    unet = controlnet = vae = text = None
    if "unet" in parts:
        unet = load_network(UNet2DConditionModel, cfg.base, "unet", device, dtype)
    if "controlnet" in parts:
        controlnet = load_network(ControlNetModel, cfg.controlnet, None, device, dtype)
    if "vae" in parts:
        ref, part = (cfg.base, "vae") if cfg.vae is None else (cfg.vae, None)
        vae = load_network(AutoencoderKL, ref, part, device, torch.float32)
    if "text" in parts:
        text = _load_text(cfg, device, dtype)
    config = resolve(cfg.base) / "scheduler" / "scheduler_config.json"
    if not config.is_file():
        raise missing(cfg.base, "scheduler/scheduler_config.json")
    if unet is not None and controlnet is not None:
        _check_pair(unet, controlnet)
    return ImageModels(unet, controlnet, vae, text, json.loads(config.read_text()), device, dtype)


def _check_pair(unet: Any, controlnet: Any) -> None:
    """Raises WeightsError unless the ControlNet takes what the UNet takes."""
    for key in ("in_channels", "cross_attention_dim"):
        if unet.config[key] != controlnet.config[key]:
            raise WeightsError(
                f"the image ControlNet has {key} {controlnet.config[key]}, the UNet {unet.config[key]}; "
                "set models.image.controlnet to one that was trained with models.image.base"
            )


def _load_text(cfg: ImageModelConfig, device: str, dtype: torch.dtype) -> TextEncoders:
    tokenizers, encoders = [], []
    for tokenizer, encoder, cls in _TEXT_ENCODERS:
        folder = resolve(cfg.base) / tokenizer
        if not folder.is_dir():
            raise missing(cfg.base, tokenizer)
        tokenizers.append(CLIPTokenizer.from_pretrained(folder, local_files_only=True))
        encoders.append(load_network(cls, cfg.base, encoder, device, dtype))
    return TextEncoders(tuple(tokenizers), tuple(encoders))


def load_lora(models: ImageModels, weights: Path) -> None:
    """Adds a LoRA file that plain diffusers reads to the UNet, at scale 1.

    Raises InputError if the file is missing, is no safetensors file, or holds no LoRA of this UNet.
    """
    if not weights.is_file():
        raise InputError(f"LoRA {weights} does not exist; re-run the lora stage or correct lora.weights")
    loader = StableDiffusionXLLoraLoaderMixin
    try:
        state, alphas = loader.lora_state_dict(
            str(weights.parent),
            weight_name=weights.name,
            unet_config=models.unet.config,
            use_safetensors=True,
            local_files_only=True,
        )
        if not any(key.startswith("unet.") for key in state):
            raise ValueError("no key starts with 'unet.'")
        loader.load_lora_into_unet(state, alphas, models.unet)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        first = " ".join(str(error).split())[:160]
        raise InputError(
            f"{weights} is no LoRA of the configured image UNet ({first}); train it with the same models, "
            "or give a safetensors file in diffusers' format"
        ) from error
    # Adapters come in the file's precision; the mixin's own `to` warns about modules it keeps in float32.
    nn.Module.to(models.unet, models.device, models.dtype).requires_grad_(False)
    log.info("loaded LoRA %s", weights)


@torch.no_grad()
def encode_prompts(models: ImageModels, prompts: Sequence[str]) -> PromptEmbedding:
    """Prompts as SDXL reads them: both encoders' penultimate states side by side, the second's pooled one.

    A prompt that does not fit the tokenizer is cut, with a warning in the log. Source: SDXL, section 2.1.
    """
    assert models.text is not None, "load the part 'text'"
    states, pooled = [], torch.empty(0)
    for tokenizer, encoder in zip(models.text.tokenizers, models.text.encoders, strict=True):
        length = tokenizer.model_max_length
        for prompt in prompts:
            if len(tokenizer(prompt).input_ids) > length:
                log.warning("prompt '%s' is longer than %d tokens; its end is not read", prompt, length)
        tokens = tokenizer(
            list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        output = encoder(tokens.input_ids.to(models.device), output_hidden_states=True)
        states.append(output.hidden_states[-2])
        pooled = output[0]
    return PromptEmbedding(torch.cat(states, dim=-1), pooled)


def micro_conditioning(
    original: tuple[int, int], crop: tuple[int, int], target: tuple[int, int]
) -> torch.Tensor:
    """SDXL's added time ids, (6,): original size, top-left of the crop, target size, each height first."""
    return torch.tensor([*original, *crop, *target], dtype=torch.float32)


def check_size(models: ImageModels, height: int, width: int) -> None:
    """Raises ShapeError unless pictures of this size pass through VAE and UNet without a remainder."""
    multiple = models.size_multiple
    if height % multiple or width % multiple:
        raise ShapeError(
            f"renders are {width}x{height}; these image models need sides that are multiples of {multiple}, "
            f"such as {round(width / multiple) * multiple}x{round(height / multiple) * multiple}"
        )


def frame_condition(
    models: ImageModels, prompt: PromptEmbedding, depth: torch.Tensor, control_scale: float
) -> ImageCondition:
    """The condition of uncropped frames. prompt: one row a frame; depth: (N, H, W) in [0, 1].

    control_scale 0 leaves the ControlNet out, which computes the same.
    """
    rows, height, width = depth.shape
    size = (height, width)
    pixels = depth.to(models.device, models.dtype)[:, None]
    return ImageCondition(
        text=prompt.text,
        pooled=prompt.pooled,
        time_ids=micro_conditioning(size, (0, 0), size).to(models.device).expand(rows, -1),
        depth=pixels.expand(-1, 3, -1, -1) if control_scale else None,
        control_scale=control_scale,
    )


@torch.no_grad()
def encode_images(models: ImageModels, rgb: NDArray[np.uint8], max_batch: int) -> torch.Tensor:
    """Pictures (N, H, W, 3) uint8 -> scaled latents (N, C, h, w) float32: the posterior's mean."""
    pixels = torch.from_numpy(np.ascontiguousarray(rgb)).permute(0, 3, 1, 2)
    shift = getattr(models.vae.config, "shift_factor", None) or 0.0
    latents = []
    for chunk in pixels.split(max_batch or len(pixels)):
        mean = models.vae.encode(chunk.to(models.device).float() / 127.5 - 1).latent_dist.mode()
        latents.append((mean - shift) * models.vae.config.scaling_factor)
    return torch.cat(latents).contiguous()


@torch.no_grad()
def decode_latents(models: ImageModels, latents: torch.Tensor, max_batch: int) -> NDArray[np.uint8]:
    """Scaled latents (N, C, h, w) -> pictures (N, H, W, 3) uint8, decoded in float32."""
    shift = getattr(models.vae.config, "shift_factor", None) or 0.0
    pictures = []
    for chunk in latents.split(max_batch or len(latents)):
        pixels = models.vae.decode(chunk.float() / models.vae.config.scaling_factor + shift).sample
        levels = ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        pictures.append(levels.permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(pictures)


@torch.no_grad()
def denoise(models: ImageModels, x: torch.Tensor, timestep: int, cond: ImageCondition) -> torch.Tensor:
    """The noise predicted in x (rows, C, h, w); float32 in and out, the networks run in `models.dtype`."""
    dtype = models.dtype
    added = {"text_embeds": cond.pooled.to(dtype), "time_ids": cond.time_ids.to(dtype)}
    latents, text = x.to(dtype), cond.text.to(dtype)
    # Filled on the device: a number would be copied there, which waits for all that is queued.
    timesteps = torch.full((len(x),), timestep, device=x.device)
    residuals: dict[str, Any] = {}
    if cond.depth is not None:
        down, mid = models.controlnet(
            latents,
            timesteps,
            encoder_hidden_states=text,
            controlnet_cond=cond.depth.to(dtype),
            conditioning_scale=cond.control_scale,
            added_cond_kwargs=added,
            return_dict=False,
        )
        residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
    prediction = models.unet(
        latents,
        timesteps,
        encoder_hidden_states=text,
        added_cond_kwargs=added,
        return_dict=False,
        **residuals,
    )[0]
    return prediction.float()


def denoise_in_chunks(
    models: ImageModels, x: torch.Tensor, timestep: int, cond: ImageCondition, max_batch: int
) -> torch.Tensor:
    """`denoise` at most `max_batch` rows a call (0: all), for rows that do not depend on each other."""
    size = max_batch or len(x)
    spans = (slice(start, start + size) for start in range(0, len(x), size))
    return torch.cat([denoise(models, x[span], timestep, cond.rows(span)) for span in spans])
