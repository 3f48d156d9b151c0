"""Stable Video Diffusion's image-to-video pipeline: loading, image conditioning, its VAE.

Latent channels, VAE factor, scaling and widths come from the networks' own configurations.
Shapes: F frames, C latent channels, (h, w) latent size, (H, W) pixels, D width of the image embedding.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
from torch import Tensor
from torch.nn import functional
from transformers import CLIPVisionModelWithProjection

from i2v3d.artifacts.tensors import require_finite
from i2v3d.config.models import VideoModelConfig
from i2v3d.errors import ShapeError, WeightsError
from i2v3d.models.fast.autoencoder import quicken
from i2v3d.models.framewise_decoding import decode_framewise
from i2v3d.models.memory import UNBOUNDED, Tier, limited
from i2v3d.models.temporal_controlnet import TemporalControlNet
from i2v3d.models.weights import Loading, missing, resolve
from i2v3d.randomness import noise

log = logging.getLogger(__name__)

Part = Literal["unet", "controlnet", "vae", "image_encoder"]
TIME_IDS = 3  # fps, motion bucket, noise augmentation


@dataclass(frozen=True)
class PixelStatistics:
    """Mean and standard deviation of each colour channel that the image encoder was trained with."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class VideoModels:
    """The parts of an SVD pipeline that were asked for, the others None.

    UNet, ControlNet and image encoder are in `dtype`, the VAE in float32, all on `device`.
    scheduler: the pipeline's scheduler config. decode_frames: frames that the VAE sees at once. memory: how sparing
    they are; if it says so, UNet and ControlNet are in main memory.
    """

    unet: Any
    controlnet: Any
    vae: Any
    image_encoder: Any
    pixels: PixelStatistics
    scheduler: dict[str, Any]
    device: str
    dtype: torch.dtype
    decode_frames: int
    memory: Tier = UNBOUNDED

    def without_denoiser(self) -> VideoModels:
        """The same without what sampling needs, which is forgotten if nobody else holds it: decoding needs the room."""
        return replace(self, unet=None, controlnet=None, image_encoder=None)

    @property
    def channels(self) -> int:
        """Latent channels C."""
        return int(self.vae.config.latent_channels)

    @property
    def factor(self) -> int:
        """Pixels a latent: the VAE halves the size between two of its levels."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))


def load_video_models(
    cfg: VideoModelConfig,
    device: str,
    parts: Collection[Part],
    memory: Tier = UNBOUNDED,
    *,
    fast: bool = False,
) -> VideoModels:
    """Loads the `parts` of the pipeline and ControlNet of `cfg` onto `device`, frozen.

    fast: whether the VAE encodes and decodes on fused kernels; the UNet is made fast where a stage asks for it.
    Raises WeightsError if weights are missing, corrupt, of another architecture, or do not fit together.
    """
    dtype: torch.dtype = getattr(torch, cfg.dtype)
    begun: dict[Part, Loading] = {}
    denoiser = "cpu" if memory.streamed else device
    if "unet" in parts:
        begun["unet"] = Loading(
            UNetSpatioTemporalConditionModel, cfg.base, "unet", denoiser, dtype, own_memory=memory.streamed
        )
    if "controlnet" in parts:
        begun["controlnet"] = Loading(
            TemporalControlNet, cfg.controlnet, None, denoiser, dtype, own_memory=memory.streamed
        )
    if "vae" in parts:
        begun["vae"] = Loading(AutoencoderKLTemporalDecoder, cfg.base, "vae", device, torch.float32)
    if "image_encoder" in parts:
        encoder = CLIPVisionModelWithProjection
        begun["image_encoder"] = Loading(encoder, cfg.base, "image_encoder", device, dtype)
    networks = {name: loading.finish() for name, loading in begun.items()}
    if fast and "vae" in networks:
        quicken(networks["vae"], decoder=not memory.framewise)
    if "unet" in networks:
        _check_time_ids(networks["unet"])
    extractor = _read_config(cfg, "feature_extractor/preprocessor_config.json")
    models = VideoModels(
        unet=networks.get("unet"),
        controlnet=networks.get("controlnet"),
        vae=networks.get("vae"),
        image_encoder=networks.get("image_encoder"),
        pixels=PixelStatistics(tuple(extractor["image_mean"]), tuple(extractor["image_std"])),
        scheduler=_read_config(cfg, "scheduler/scheduler_config.json"),
        device=device,
        dtype=dtype,
        decode_frames=cfg.decode_frames,
        memory=memory,
    )
    _check_pair(models)
    return models


def _read_config(cfg: VideoModelConfig, name: str) -> dict[str, Any]:
    path: Path = resolve(cfg.base) / name
    if not path.is_file():
        raise missing(cfg.base, name)
    config: dict[str, Any] = json.loads(path.read_text())
    return config


def _check_time_ids(unet: Any) -> None:
    """Raises WeightsError unless the UNet takes fps, motion bucket and noise augmentation."""
    wanted = TIME_IDS * unet.config.addition_time_embed_dim
    got = unet.config.projection_class_embeddings_input_dim
    if got != wanted:
        raise WeightsError(
            f"the video UNet embeds {got} numbers of added time ids; expected {wanted} for {TIME_IDS} ids; "
            "use an image-to-video UNet"
        )


def _check_pair(models: VideoModels) -> None:
    """Raises WeightsError unless UNet, ControlNet and VAE, as far as loaded, fit together."""
    unet, controlnet, vae = models.unet, models.controlnet, models.vae
    if unet is not None and controlnet is not None:
        for key in ("in_channels", "block_out_channels", "cross_attention_dim"):
            wanted, got = unet.config[key], controlnet.config[key]
            if _plain(wanted) != _plain(got):
                raise WeightsError(
                    f"the temporal ControlNet has {key} {got}, the video UNet {wanted}; use a matching pair"
                )
    if controlnet is not None and vae is not None:
        scale = 2 ** (len(controlnet.config.conditioning_embedding_out_channels) - 1)
        if scale != models.factor:
            raise WeightsError(
                f"the temporal ControlNet scales its condition down by {scale}, the video VAE by "
                f"{models.factor}; use a matching pair"
            )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, list)) else value


# ---------------------------------------------------------------- conditions
def added_time_ids(fps: int, motion_bucket: int, noise_aug: float) -> Tensor:
    """SVD's added time ids, (3,) float32. It was trained on fps - 1, so that is what it is told."""
    return torch.tensor([fps - 1, motion_bucket, noise_aug], dtype=torch.float32)


@dataclass(frozen=True)
class PictureCondition:
    """A conditioning picture as the networks take it. embedding: (1, D); latents: (C, h, w)."""

    embedding: Tensor
    latents: Tensor


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


@torch.no_grad()
def embed_image(models: VideoModels, image: Tensor) -> Tensor:
    """CLIP embedding of a picture, (1, D) float32. image: (3, H, W) in [-1, 1].

    As SVD was trained: smoothed, resized to the encoder's square whatever the aspect ratio, normalised.
    """
    side = models.image_encoder.config.image_size
    small = resize_antialiased(image[None].to(models.device, torch.float32), side, side)
    mean, std = (
        torch.tensor(v, device=small.device)[:, None, None] for v in (models.pixels.mean, models.pixels.std)
    )
    normalised = ((small + 1) / 2 - mean) / std
    embedding: Tensor = models.image_encoder(normalised.to(models.dtype)).image_embeds
    return embedding.float()


@torch.no_grad()
def conditioning_latents(models: VideoModels, image: Tensor, noise: Tensor, noise_aug: float) -> Tensor:
    """Latents of a noise-augmented picture, (C, h, w) float32: the posterior's mode, unscaled as SVD wants.

    image: (3, H, W) in [-1, 1]; noise: the same shape, unit variance; noise_aug: its strength.
    """
    augmented = (image + noise_aug * noise).to(models.device, torch.float32)
    mode: Tensor = models.vae.encode(augmented[None]).latent_dist.mode()[0]
    return mode


def resize_antialiased(images: Tensor, height: int, width: int) -> Tensor:
    """Bicubic resize (N, 3, H, W) -> (N, 3, height, width) with corners aligned, after a Gaussian blur.

    The blur's standard deviation is (factor - 1) / 2 pixels along each axis, cut off after two of them;
    this is what SVD's image embedding was trained with (after scikit-image's anti-aliasing).
    """
    blurred = images
    for axis, size in ((2, height), (3, width)):
        sigma = max((images.shape[axis] / size - 1) / 2, 0.001)
        taps = max(int(4 * sigma), 3) | 1
        blurred = _blur(blurred, axis, sigma, taps)
    return functional.interpolate(blurred, (height, width), mode="bicubic", align_corners=True)


def _blur(images: Tensor, axis: int, sigma: float, taps: int) -> Tensor:
    """Gaussian blur along one image axis (2: rows, 3: columns), reflecting at the border."""
    offsets = torch.arange(taps, device=images.device, dtype=images.dtype) - taps // 2
    kernel = torch.exp(-offsets.square() / (2 * sigma * sigma))
    kernel = kernel / kernel.sum()
    channels, reach = images.shape[1], taps // 2
    if axis == 2:
        weight, padding = kernel[:, None], (0, 0, reach, reach)
    else:
        weight, padding = kernel[None, :], (reach, reach, 0, 0)
    padded = functional.pad(images, padding, mode="reflect")
    return functional.conv2d(padded, weight.expand(channels, 1, *weight.shape), groups=channels)


# ---------------------------------------------------------------- VAE
def check_size(models: VideoModels, height: int, width: int) -> None:
    """Raises ShapeError unless frames of this size are a whole number of latents."""
    if height % models.factor or width % models.factor:
        raise ShapeError(
            f"frames are {width}x{height}; the video VAE needs sides that are multiples of {models.factor}, "
            f"such as {math.ceil(width / models.factor) * models.factor}x"
            f"{math.ceil(height / models.factor) * models.factor}; change scene.width and scene.height"
        )


@torch.no_grad()
def encode_frames(models: VideoModels, frames: Tensor) -> Tensor:
    """Frames (F, 3, H, W) in [-1, 1] -> scaled latents (F, C, h, w) float32: the posterior's mode."""
    check_size(models, *frames.shape[-2:])
    chunks = [
        models.vae.encode(chunk.to(models.device, torch.float32)).latent_dist.mode()
        for chunk in frames.split(limited(models.decode_frames, models.memory.coding))
    ]
    return torch.cat(chunks) * models.vae.config.scaling_factor


@torch.no_grad()
def decode_frames(models: VideoModels, latents: Tensor) -> Tensor:
    """Scaled latents (F, C, h, w) -> frames (F, 3, H, W) uint8 on the CPU, decoded in float32.

    The decoder mixes neighbouring frames; it sees `models.decode_frames` of them at once.
    """
    frames = []
    for chunk in latents.split(models.decode_frames):
        scaled = chunk.to(torch.float32) / models.vae.config.scaling_factor
        if models.memory.framewise:
            pixels = decode_framewise(models.vae, scaled)
        else:
            pixels = models.vae.decode(scaled, num_frames=len(chunk)).sample
        require_finite(pixels, "decoded frames")
        frames.append(((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu())
    return torch.cat(frames)
