"""Stage sdedit_video: the baseline that refines the coarse clip by SDEdit with the video model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from i2v3d.artifacts.coarse import CoarseClip, read_coarse_clip
from i2v3d.artifacts.folders import frame_name, keyframe_numbers
from i2v3d.artifacts.pictures import read_signed_picture
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.config.interpolate import SDEditVideoConfig
from i2v3d.config.stages import SDEditVideoStage
from i2v3d.diffusion import edm
from i2v3d.diffusion.denoiser import BothBranches
from i2v3d.diffusion.guidance import Guided
from i2v3d.diffusion.sdedit import steps_run
from i2v3d.images import write_rgb
from i2v3d.models.svd import (
    Part,
    VideoModels,
    added_time_ids,
    decode_frames,
    encode_frames,
    load_video_models,
    picture_condition,
)
from i2v3d.models.svd_denoiser import ClipCondition, ClipDenoiser
from i2v3d.progress import OnStep
from i2v3d.randomness import frame_noise
from i2v3d.stages.context import StageContext

log = logging.getLogger(__name__)


@torch.no_grad()
def refine_clip(cfg: SDEditVideoStage, inputs: Mapping[str, Path], out: Path, ctx: StageContext) -> None:
    """Writes every frame of the shot: the coarse clip with the noise of `strength`, denoised again.

    inputs: 'scene', whose photo conditions the first segment, and 'render'. The last frame of a segment
    conditions the next one, whose copy of it is dropped. Source: I2V3D, comparison with refinement.
    """
    keyframes = keyframe_numbers(RenderFolder(inputs["render"]).frame_count(), cfg.segment_frames)
    parts: tuple[Part, ...] = ("unet", "controlnet", "vae", "image_encoder")
    models = load_video_models(cfg.models, ctx.device, parts, ctx.memory.resident, fast=ctx.fast)
    picture = read_signed_picture(inputs["scene"] / "photo.png")
    for segment in range(len(keyframes) - 1):
        clip = read_coarse_clip(inputs["render"], cfg.segment_frames, segment, cfg.sdedit.depth_range)
        with ctx.bar(f"refine segment {segment}") as bar:
            latents = _refined(cfg.sdedit, models, clip, picture, ctx.max_batch, bar)
        frames = decode_frames(models, latents)
        for number, frame in list(zip(clip.numbers, frames, strict=True))[min(segment, 1) :]:
            write_rgb(out / frame_name(number), frame.permute(1, 2, 0).contiguous().numpy())
        picture = frames[-1].float() / 127.5 - 1
    ctx.log_media("sdedit_video/middle_frame", out / frame_name((1 + keyframes[-1]) // 2))


def _refined(
    sdedit: SDEditVideoConfig,
    models: VideoModels,
    clip: CoarseClip,
    picture: Tensor,
    max_batch: int,
    on_step: OnStep,
) -> Tensor:
    """The clean latents (F, C, h, w) of a clip, conditioned on `picture` (3, H, W) in [-1, 1]."""
    network = ClipDenoiser(models.unet, models.controlnet, sdedit.control_scale)
    known = picture_condition(models, picture, clip.numbers[0], sdedit.noise_aug, sdedit.seed)
    time_ids = added_time_ids(sdedit.fps, sdedit.motion_bucket, sdedit.noise_aug).to(models.device)
    conditional = network.condition(known, time_ids, network.control(clip.depth))
    both = ClipCondition.join([conditional.unconditional(), conditional])

    guided = Guided(BothBranches(network, both, max_batch), sdedit.guidance)
    schedule = edm.EDMSchedule.from_config(models.scheduler, sdedit.steps)
    sigmas = schedule.sigmas[schedule.steps - steps_run(schedule.steps, sdedit.strength) :]
    clean = encode_frames(models, clip.rgb)
    noise = frame_noise(clip.numbers, tuple(clean.shape[1:]), sdedit.seed, "sdedit video")
    start = clean + sigmas[0] * noise.to(clean.device)
    return edm.integrate(start[None], guided.predict, sigmas, on_step)[-1][0]
