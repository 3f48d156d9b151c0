"""Stage interpolation_inversion: the coarse clip of a segment back to noise, forward and reversed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from i2v3d.artifacts.coarse import CoarseClip, read_coarse_clip
from i2v3d.artifacts.latents import InvertedClip, clip_guide
from i2v3d.config.stages import InterpolationInversionStage
from i2v3d.diffusion.edm import EDMSchedule
from i2v3d.guidance.fast_video import clip_denoiser
from i2v3d.guidance.interpolation import invert_clip
from i2v3d.models.svd import (
    Part,
    PictureCondition,
    VideoModels,
    added_time_ids,
    encode_frames,
    load_video_models,
    picture_condition,
)
from i2v3d.stages.context import StageContext

log = logging.getLogger(__name__)


@torch.no_grad()
def invert_segment(
    cfg: InterpolationInversionStage, inputs: Mapping[str, Path], out: Path, ctx: StageContext
) -> None:
    """Writes latents.safetensors, an `InvertedClip`. inputs: 'render'.

    Both directions are inverted together, conditioned on the coarse first and last frame and on depth,
    without guidance. Source: 4a of the method.
    """
    inversion = cfg.inversion
    clip = read_coarse_clip(
        inputs["render"], cfg.segment_frames, cfg.segment, inversion.depth_range, inversion.light
    )
    networks: tuple[Part, ...] = () if inversion.deferred else ("unet", "controlnet")
    parts: tuple[Part, ...] = (*networks, "vae", "image_encoder")
    models = load_video_models(cfg.models, ctx.device, parts, ctx.memory, fast=ctx.fast)
    schedule = EDMSchedule.from_config(models.scheduler, inversion.steps)
    time_ids = added_time_ids(inversion.fps, inversion.motion_bucket, inversion.noise_aug).to(models.device)
    first, last = (
        picture_condition(models, clip.rgb[i], clip.numbers[i], inversion.noise_aug, inversion.seed)
        for i in (0, -1)
    )
    clean = encode_frames(models, clip.rgb)
    models = replace(models, vae=None, image_encoder=None)
    if inversion.deferred:
        forward, backward = clean[None], clean.flip(0)[None]
    else:
        forward, backward = _invert(cfg, models, schedule, clip, clean, (first, last), time_ids, ctx)
    InvertedClip(
        sigmas=torch.tensor(schedule.ascending()),
        forward=forward,
        reversed=backward,
        forward_embedding=first.embedding,
        forward_latents=first.latents,
        reversed_embedding=last.embedding,
        reversed_latents=last.latents,
        time_ids=time_ids,
        guide=clip_guide(inversion.control_scale, inversion.depth_range, inversion.solver),
    ).save(out)
    log.info("wrote %d noise levels of %d frames, forward and reversed", len(forward), len(clip.numbers))


def _invert(
    cfg: InterpolationInversionStage,
    models: VideoModels,
    schedule: EDMSchedule,
    clip: CoarseClip,
    clean: Tensor,
    pictures: tuple[PictureCondition, PictureCondition],
    time_ids: Tensor,
    ctx: StageContext,
) -> tuple[Tensor, Tensor]:
    """The levels of the clip and of the reversed one, each (S + 1, F, C, h, w). clean: (F, C, h, w)."""
    network = clip_denoiser(models, cfg.inversion.control_scale, fast=ctx.fast, max_batch=ctx.max_batch)
    control = network.control(clip.depth)
    ends = (clip.numbers[0], clip.numbers[-1])
    log.info("segment %d: frames %d to %d in %d steps", cfg.segment, *ends, schedule.steps)
    with ctx.bar(f"invert segment {cfg.segment}") as bar:
        inverted = invert_clip(
            network,
            schedule,
            clean,
            network.condition(pictures[0], time_ids, control),
            network.condition(pictures[1], time_ids, control),
            solver=cfg.inversion.solver,
            compat_unflipped_depth=cfg.inversion.compat_unflipped_depth,
            max_batch=ctx.max_batch,
            on_step=bar,
        )
    return inverted.forward, inverted.reversed
