"""Stage keyframe_inversion: DDIM inversion of the coarse keyframes, the source of every later ablation."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from i2v3d.artifacts.coarse import read_renders
from i2v3d.artifacts.folders import keyframe_numbers
from i2v3d.artifacts.latents import InvertedKeyframes
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.config.stages import KeyframeInversionStage
from i2v3d.diffusion.ddim import DDIM
from i2v3d.guidance.fast_image import image_denoiser
from i2v3d.models.sdxl import (
    embed_depth,
    encode_images,
    encode_prompts,
    frame_condition,
    load_guided_models,
)
from i2v3d.stages.context import StageContext

log = logging.getLogger(__name__)


def invert_keyframes(
    cfg: KeyframeInversionStage, inputs: Mapping[str, Path], out: Path, ctx: StageContext
) -> None:
    """Writes latents.safetensors, the `InvertedKeyframes`.

    Reads render and, if the customised network inverts, lora. Raises ConfigError if the frames do not fit the segments,
    ShapeError if the renders' size does not suit the networks. Source: I2V3D, 3a of the method.
    """
    frames = keyframe_numbers(RenderFolder(inputs["render"]).frame_count(), cfg.segment_frames)
    renders = read_renders(inputs["render"], frames, cfg.inversion.depth_range, cfg.inversion.light)
    lora = inputs["lora"] if cfg.inversion.network == "customised" else None
    models = load_guided_models(cfg.models, ctx.device, renders.size, lora, ctx.memory, fast=ctx.fast)

    prompt = encode_prompts(models, [cfg.inversion.prompt]).repeat(0, len(frames))
    models = replace(models, text=None)
    control = embed_depth(models, renders.depth, ctx.max_batch)
    condition = frame_condition(models, prompt, renders.size, control, cfg.inversion.control_scale)
    clean = encode_images(models, renders.rgb, ctx.max_batch)
    ddim = DDIM.from_config(models.scheduler, cfg.inversion.steps)

    network = image_denoiser(models, cfg.inversion.control_scale, fast=ctx.fast)

    def predict(x: torch.Tensor, level: float, step: int) -> torch.Tensor:
        return network.in_chunks(x, level, condition, ctx.max_batch)

    with ctx.bar("keyframe inversion") as bar:
        levels = ddim.invert(clean, predict, bar)

    latents = torch.stack(levels).cpu()
    InvertedKeyframes(tuple(frames), cfg.inversion.prompt, latents).save(out)
    ctx.log_metrics({"noise_mean": float(latents[-1].mean()), "noise_std": float(latents[-1].std())})
    log.info("inverted %d keyframes in %d steps", len(frames), ddim.steps)
