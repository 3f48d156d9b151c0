"""Stage interpolate: all frames between two keyframes, guided from both ends and by the coarse clip."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from i2v3d.artifacts.coarse import CoarseClip, read_coarse_clip, read_coarse_shot, read_end_picture
from i2v3d.artifacts.folders import frame_name
from i2v3d.artifacts.latents import InvertedClip, clip_guide
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.config.interpolate import InterpolateConfig
from i2v3d.config.models import VideoLayers
from i2v3d.config.stages import InterpolateStage
from i2v3d.diffusion.edm import EDMSchedule
from i2v3d.geometry.correspondence import Motion
from i2v3d.guidance.anchoring import Drift, anchored, as_bytes, with_render_detail
from i2v3d.guidance.clip_features import SourceMemory, copied_of_clips
from i2v3d.guidance.fast_video import FastClipDenoiser, clip_denoiser
from i2v3d.guidance.interpolation import (
    ClipInversion,
    ClipNoise,
    EndPicture,
    FusionOptions,
    InterpolationGuidance,
    interpolate,
    invert_clip,
    resolved,
)
from i2v3d.guidance.passes import ClipInjection
from i2v3d.images import write_pictures
from i2v3d.models.memory import room_for_features
from i2v3d.models.svd import (
    Part,
    PictureCondition,
    VideoModels,
    added_time_ids,
    decode_frames,
    encode_frames,
    load_video_models,
    picture_condition,
)
from i2v3d.models.svd_denoiser import ClipCondition, ClipDenoiser
from i2v3d.stages.context import StageContext

log = logging.getLogger(__name__)

ENDS = (0, -1)  # a segment's first and last frame: its keyframes


@torch.no_grad()
def interpolate_segment(
    cfg: InterpolateStage, inputs: Mapping[str, Path], out: Path, ctx: StageContext
) -> None:
    """Writes the F frames of the segment as 0001.png and so on, by frame number.

    inputs: 'render', this segment's 'interpolation_inversion', and 'keyframes', which condition the passes; with
    the conditioning 'chained' also the 'previous' segment, if there is one; with 'photo' that and 'scene'. The
    first and last frame written are decoded like the others and, if the configuration says so, anchored to those
    pictures. Source: section 4 of the method. Raises ConfigError or ArtifactError if inversion, keyframes and
    configuration do not fit.
    """
    cfg = replace(
        cfg,
        interpolate=replace(cfg.interpolate, seed=cfg.interpolate.seed_of(cfg.segment), segment_seeds=None),
    )
    settings = cfg.interpolate
    clip = read_coarse_clip(
        inputs["render"], settings.segment_frames, cfg.segment, settings.depth_range, settings.render_light
    )
    inverted = InvertedClip.load(inputs["interpolation_inversion"], ctx.device)
    size = (clip.rgb.shape[2], clip.rgb.shape[3])
    pictures = [read_end_picture(path, size) for path in _conditions(settings, inputs, clip)]
    parts: tuple[Part, ...] = ("unet", "controlnet", "vae", "image_encoder")
    models = load_video_models(cfg.models, ctx.device, parts, ctx.memory, fast=ctx.fast)
    schedule = EDMSchedule.from_config(models.scheduler, settings.steps)
    guide = clip_guide(settings.control_scale, settings.depth_range, settings.solver)
    inverted.check(inputs["interpolation_inversion"], clip.numbers, schedule.ascending(), guide)
    latents = _sample(cfg, models, schedule, clip, inverted, pictures, ctx)
    models = models.without_denoiser()
    motion = _motion(inputs["render"], clip.numbers) if settings.anchor == "detail" else None
    drift = _drift(cfg, inputs["render"], clip.numbers[-1])
    frames = decode_frames(models, latents)
    if settings.render_detail:
        decoded = decode_frames(models, encode_frames(models, clip.rgb))
        frames = with_render_detail(frames, as_bytes(clip.rgb), decoded, clip.visible, settings.render_detail)
    frames = anchored(frames, pictures, settings.anchor, motion, drift)
    rows = frames.permute(0, 2, 3, 1).contiguous().numpy()
    write_pictures((out / frame_name(n), row) for n, row in zip(clip.numbers, rows, strict=True))
    first, last = clip.numbers[0], clip.numbers[-1]
    log.info("wrote frames %d to %d", first, last)
    ctx.log_media("interpolate/middle_frame", out / frame_name((first + last) // 2))


def _sample(
    cfg: InterpolateStage,
    models: VideoModels,
    schedule: EDMSchedule,
    clip: CoarseClip,
    inverted: InvertedClip,
    pictures: list[Tensor],
    ctx: StageContext,
) -> Tensor:
    """The clean latents (F, C, h, w) of the segment. pictures: (3, H, W), of its ends."""
    settings = cfg.interpolate
    network = clip_denoiser(models, settings.control_scale, fast=ctx.fast, max_batch=ctx.max_batch)
    control = network.control(clip.depth)
    ends = _ends(network, models, pictures, control, clip, settings)
    noise = ClipNoise.seeded(clip.numbers, tuple(ends[0].latents.shape), settings.seed, ctx.device)
    models = replace(models, vae=None, image_encoder=None)
    first, last = clip.numbers[0], clip.numbers[-1]
    log.info("segment %d: frames %d to %d in %d steps", cfg.segment, first, last, schedule.steps)
    guidance = _guidance(settings, cfg.models.layers)
    inversion = _inversion(network, inverted, control)
    if inverted.deferred:
        inversion = _invert(network, schedule, inversion, guidance, ctx)
    with ctx.bar(f"interpolate segment {cfg.segment}") as bar:
        return interpolate(
            network,
            schedule,
            inversion,
            clip.visible,
            ends,
            noise,
            guidance,
            max_batch=ctx.max_batch,
            on_step=bar,
        )


def _ends(
    network: ClipDenoiser,
    models: VideoModels,
    pictures: list[Tensor],
    control: Tensor,
    clip: CoarseClip,
    settings: InterpolateConfig,
) -> list[EndPicture[ClipCondition]]:
    """The pictures (3, H, W) of the segment's first and, if given, last frame, as guidance takes them."""
    time_ids = added_time_ids(settings.fps, settings.motion_bucket, settings.noise_aug).to(models.device)
    latents = encode_frames(models, torch.stack(pictures))
    return [
        EndPicture(
            network.condition(
                picture_condition(models, picture, clip.numbers[end], settings.noise_aug, settings.seed),
                time_ids,
                control,
            ),
            encoded,
        )
        for picture, encoded, end in zip(pictures, latents, ENDS, strict=False)
    ]


def _inversion(
    network: ClipDenoiser, inverted: InvertedClip, control: Tensor
) -> ClipInversion[ClipCondition]:
    """The stored inversion, with the conditions that it was made under. control: the clip's embedded depth."""
    first = PictureCondition(inverted.forward_embedding, inverted.forward_latents)
    last = PictureCondition(inverted.reversed_embedding, inverted.reversed_latents)
    return ClipInversion(
        inverted.forward,
        inverted.reversed,
        network.condition(first, inverted.time_ids, control),
        network.condition(last, inverted.time_ids, control),
    )


def _invert(
    network: ClipDenoiser,
    schedule: EDMSchedule,
    start: ClipInversion[ClipCondition],
    guidance: InterpolationGuidance,
    ctx: StageContext,
) -> ClipInversion[ClipCondition]:
    """The inversion of a clip that starts from its clean latents; fast networks remember what is injected of it."""
    injection = resolved(network, guidance.injection)
    memory = None
    if injection is not None and isinstance(network, FastClipDenoiser):
        memory = SourceMemory(copied_of_clips(injection), room_for_features(ctx.device))
        network.remember(memory)
    with ctx.bar("invert the segment") as bar:
        inverted = invert_clip(
            network,
            schedule,
            start.forward[0],
            start.first,
            start.last,
            solver=guidance.solver,
            compat_unflipped_depth=False,
            max_batch=ctx.max_batch,
            on_step=bar,
        )
    if memory is not None:
        memory.close()
    return inverted


def _guidance(settings: InterpolateConfig, layers: VideoLayers) -> InterpolationGuidance:
    """The options of the section as guidance takes them."""
    injection = None
    if settings.injection:
        injection = ClipInjection(layers.attention, layers.block, settings.tau_attention, settings.tau_block)
    return InterpolationGuidance(
        scale=settings.guidance,
        interp_strength=settings.interp_strength,
        fusion=FusionOptions(**asdict(settings.fusion)),
        injection=injection,
        compat_unflipped_masks=settings.compat_unflipped_masks,
        compat_scaled_source=settings.compat_scaled_source,
        solver=settings.solver,
        unconditional_every=settings.unconditional_every,
    )


def _motion(render: Path, numbers: list[int]) -> Motion | None:
    """The render's exact flow along which detail is carried; None, with a warning, if it has none."""
    motion = read_coarse_shot(render, RenderFolder(render).frame_count(), numbers).motion()
    if motion is None:
        log.warning(
            "%s has no optical flow, along which detail could be carried; frames stay as decoded", render
        )
    return motion


def _drift(cfg: InterpolateStage, render: Path, last: int) -> Drift | None:
    """Of the segment's last frame; None if its keyframe guides the last step. last: that frame's number."""
    settings = cfg.interpolate
    if settings.interp_strength == 1:
        return None
    foreground = torch.from_numpy(RenderFolder(render).foreground(last))
    segments = cfg.segment + 1 if settings.conditioning == "chained" else 1
    return Drift(foreground, settings.drift_foreground, settings.drift_background, segments)


def _conditions(settings: InterpolateConfig, inputs: Mapping[str, Path], clip: CoarseClip) -> list[Path]:
    """The pictures that stand for the segment's first and, when guided from both ends, its last frame."""
    first, last = (frame_name(clip.numbers[end]) for end in ENDS)
    if "previous" in inputs:
        pictures = [inputs["previous"] / first]
    elif settings.conditioning == "photo":
        pictures = [inputs["scene"] / "photo.png"]
    else:
        pictures = [inputs["keyframes"] / first]
    return [*pictures, inputs["keyframes"] / last] if settings.direction == "both" else pictures
