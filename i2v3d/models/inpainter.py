"""Holes of a picture painted by SDXL inpainting. Source: Podell et al., "SDXL", 2023; the pipeline is diffusers'."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from i2v3d.config.scene import InpaintModelConfig
from i2v3d.errors import WeightsError
from i2v3d.images import Mask, Rgb
from i2v3d.models.weights import check_safetensors, missing, resolve

log = logging.getLogger(__name__)

PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
SEAM_PX = 4.0  # width of the band in which the painting fades into what surrounds the hole


def check_inpainter(cfg: InpaintModelConfig) -> Path:
    """The folder of the weights. Raises WeightsError, with what fetches them, if a part is missing or corrupt."""
    folder = resolve(cfg.weights)
    for part in PARTS:
        if not (folder / part).is_dir():
            raise missing(cfg.weights, part)
        check_safetensors(cfg.weights, folder / part)
    return folder


def paint_holes(cfg: InpaintModelConfig, rgb: Rgb, hole: Mask, device: str) -> Rgb:
    """A picture (H, W, 3) with `hole` (H, W) painted; all other pixels as they were.

    rgb: its holes filled by other means, which the painting starts from (`cfg.strength`) and fades into at the
    rim. Painted at about the size that the network was trained at. Raises WeightsError if the weights are missing,
    corrupt or of another architecture.
    """
    if not hole.any():
        return rgb
    pipeline = _load(cfg, device)
    height, width = _painting_size(pipeline, *rgb.shape[:2])
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    small_hole = cv2.resize(hole.astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_LINEAR) > 0
    log.info("painting the background with SDXL at %d x %d", width, height)
    painted = pipeline(
        prompt=cfg.prompt,
        negative_prompt=cfg.negative_prompt,
        image=Image.fromarray(small),
        mask_image=Image.fromarray(small_hole.astype(np.uint8) * 255),
        height=height,
        width=width,
        strength=cfg.strength,
        num_inference_steps=cfg.steps,
        guidance_scale=cfg.guidance,
        generator=torch.Generator().manual_seed(cfg.seed),
        output_type="np",
    ).images[0]
    if not np.isfinite(painted).all():
        raise WeightsError(
            f"{cfg.weights.source} paints pictures that are not finite in {cfg.dtype}; use "
            "scene.inpaint.model.dtype=float32"
        )
    large = cv2.resize((painted * 255).astype(np.float32), rgb.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    depth = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    share = np.clip(depth / SEAM_PX, 0.0, 1.0)[..., None]
    blended = rgb + share * (large - rgb)
    return np.where(hole[..., None], np.clip(np.round(blended), 0, 255), rgb).astype(np.uint8)


def _load(cfg: InpaintModelConfig, device: str) -> Any:
    from diffusers import StableDiffusionXLInpaintPipeline

    folder = check_inpainter(cfg)
    try:
        pipeline = StableDiffusionXLInpaintPipeline.from_pretrained(
            folder,
            dtype=getattr(torch, cfg.dtype),
            variant=cfg.weights.variant,
            use_safetensors=True,
            local_files_only=True,
            add_watermarker=False,
        )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(
            f"{folder} is no SDXL inpainting pipeline: {first}; fetch or copy it again"
        ) from error
    channels, taken = pipeline.vae.config.latent_channels, pipeline.unet.config.in_channels
    if channels != 4 or taken not in (
        4,
        9,
    ):  # SDXL's, without and with mask and masked picture beside the latents
        raise WeightsError(
            f"the UNet of {folder} takes {taken} channels, which is no inpainting of {channels} latent ones; "
            "expected the weights of SDXL inpainting"
        )
    pipeline.set_progress_bar_config(desc="inpaint", unit="step")
    return pipeline.to(device)


def _painting_size(pipeline: Any, height: int, width: int) -> tuple[int, int]:
    """Pixels (H, W) of about the picture's aspect and at most the network's own number, multiples it can halve."""
    step = pipeline.vae_scale_factor * 2 ** (len(pipeline.unet.config.block_out_channels) - 1)
    native = int(pipeline.unet.config.sample_size) * pipeline.vae_scale_factor
    scale = min(1.0, native / math.sqrt(height * width))
    return tuple(max(step, round(side * scale / step) * step) for side in (height, width))
