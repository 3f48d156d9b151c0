"""Stage interpolation_inversion: the coarse clip of a segment back to noise, forward and reversed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch

from i2v3d.artifacts.segments import CoarseClip, InvertedClip, read_coarse_clip
from i2v3d.config.stages import InterpolationInversionStage
from i2v3d.diffusion import edm
from i2v3d.guidance.video_denoiser import ClipCondition, ClipDenoiser
from i2v3d.models.svd import (
    PictureCondition,
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
    clip = read_coarse_clip(inputs["render"], cfg.segment_frames, cfg.segment, inversion.depth_range)
    models = load_video_models(cfg.models, ctx.device, ("unet", "controlnet", "vae", "image_encoder"))
    schedule = edm.EDMSchedule.from_config(models.scheduler, inversion.steps)
    denoiser = ClipDenoiser(models.unet, models.controlnet, inversion.control_scale)
    clean = encode_frames(models, clip.rgb)
    first, last = (
        picture_condition(models, clip.rgb[i], clip.numbers[i], inversion.noise_aug, inversion.seed)
        for i in (0, -1)
    )
    time_ids = added_time_ids(inversion.fps, inversion.motion_bucket, inversion.noise_aug).to(models.device)
    condition = _both_directions(denoiser, clip, first, last, time_ids, inversion.compat_unflipped_depth)
    ends = (clip.numbers[0], clip.numbers[-1])
    log.info("segment %d: frames %d to %d in %d steps", cfg.segment, *ends, schedule.steps)

    def denoise(x: torch.Tensor, sigma: float, step: int) -> torch.Tensor:
        return denoiser.in_chunks(x, sigma, condition, ctx.max_batch)

    with ctx.bar(f"invert segment {cfg.segment}") as bar:
        trajectory = edm.invert(torch.stack([clean, clean.flip(0)]), denoise, schedule, bar)
    InvertedClip(
        sigmas=torch.tensor(schedule.ascending()),
        forward=trajectory[:, 0],
        reversed=trajectory[:, 1],
        forward_embedding=first.embedding,
        forward_latents=first.latents,
        reversed_embedding=last.embedding,
        reversed_latents=last.latents,
        time_ids=time_ids,
    ).save(out)
    log.info("wrote %d noise levels of %d frames, forward and reversed", len(trajectory), len(clean))


def _both_directions(
    denoiser: ClipDenoiser,
    clip: CoarseClip,
    first: PictureCondition,
    last: PictureCondition,
    time_ids: torch.Tensor,
    unflipped_depth: bool,
) -> ClipCondition:
    """The conditions of the forward and the reversed clip.

    Differs from the released code, unless `unflipped_depth`: the reversed clip sees its depth reversed too.
    """
    control = denoiser.control(clip.depth)
    return ClipCondition(
        embedding=torch.stack([first.embedding, last.embedding]),
        image_latents=torch.stack([first.latents, last.latents]),
        time_ids=time_ids.expand(2, -1),
        control=torch.cat([control, control if unflipped_depth else control.flip(1)]),
    )
