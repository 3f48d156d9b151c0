"""Stage interpolation_inversion: the coarse clip of a segment back to noise, forward and reversed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch

from i2v3d.artifacts.coarse import read_coarse_clip
from i2v3d.artifacts.latents import InvertedClip
from i2v3d.config.stages import InterpolationInversionStage
from i2v3d.diffusion.edm import EDMSchedule
from i2v3d.guidance.fast_video import clip_denoiser
from i2v3d.guidance.interpolation import invert_clip
from i2v3d.models.svd import added_time_ids, encode_frames, load_video_models, picture_condition
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
    clip = read_coarse_clip(inputs["render"], cfg.segment_frames, cfg.segment, inversion.depth_range)
    models = load_video_models(cfg.models, ctx.device, ("unet", "controlnet", "vae", "image_encoder"))
    schedule = EDMSchedule.from_config(models.scheduler, inversion.steps)
    network = clip_denoiser(models, inversion.control_scale, fast=ctx.fast)
    control = network.control(clip.depth)
    time_ids = added_time_ids(inversion.fps, inversion.motion_bucket, inversion.noise_aug).to(models.device)
    first, last = (
        picture_condition(models, clip.rgb[i], clip.numbers[i], inversion.noise_aug, inversion.seed)
        for i in (0, -1)
    )
    ends = (clip.numbers[0], clip.numbers[-1])
    log.info("segment %d: frames %d to %d in %d steps", cfg.segment, *ends, schedule.steps)
    with ctx.bar(f"invert segment {cfg.segment}") as bar:
        inverted = invert_clip(
            network,
            schedule,
            encode_frames(models, clip.rgb),
            network.condition(first, time_ids, control),
            network.condition(last, time_ids, control),
            compat_unflipped_depth=inversion.compat_unflipped_depth,
            max_batch=ctx.max_batch,
            on_step=bar,
        )
    InvertedClip(
        sigmas=torch.tensor(schedule.ascending()),
        forward=inverted.forward,
        reversed=inverted.reversed,
        forward_embedding=first.embedding,
        forward_latents=first.latents,
        reversed_embedding=last.embedding,
        reversed_latents=last.latents,
        time_ids=time_ids,
    ).save(out)
    log.info(
        "wrote %d noise levels of %d frames, forward and reversed", schedule.steps + 1, len(clip.numbers)
    )
