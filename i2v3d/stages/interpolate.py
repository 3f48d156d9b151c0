"""Stage interpolate: all frames between two keyframes, guided from both ends and by the coarse clip."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from i2v3d.artifacts.folders import frame_name
from i2v3d.artifacts.renders import frame_count
from i2v3d.artifacts.segments import (
    CoarseClip,
    InvertedClip,
    read_coarse_clip,
    read_picture,
)
from i2v3d.artifacts.shot import read_control
from i2v3d.config.interpolate import InterpolateConfig
from i2v3d.config.models import VideoLayers
from i2v3d.config.stages import InterpolateStage
from i2v3d.diffusion import edm
from i2v3d.diffusion.fusion import (
    Blend,
    EarlyStop,
    ForwardOnly,
    Fusion,
    Predict,
    Repeated,
    ReplacedEnds,
    Sequential,
    reversed_weights,
    sample,
)
from i2v3d.errors import ArtifactError, ConfigError
from i2v3d.guidance.anchoring import anchor_colour, anchor_detail
from i2v3d.guidance.injection import resolve_layers
from i2v3d.guidance.masks import nearest_resize
from i2v3d.guidance.video_denoiser import (
    ClipCondition,
    ClipDenoiser,
    DirectionalPass,
    GuidedInterpolation,
    InjectionLayers,
)
from i2v3d.images import write_rgb
from i2v3d.models.svd import (
    PictureCondition,
    VideoModels,
    added_time_ids,
    decode_frames,
    encode_frames,
    load_video_models,
    picture_condition,
)
from i2v3d.randomness import frame_noise
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
    settings = cfg.interpolate
    clip = read_coarse_clip(inputs["render"], settings.segment_frames, cfg.segment, settings.depth_range)
    inverted = InvertedClip.load(inputs["interpolation_inversion"], ctx.device)
    pictures = [_read_condition(path, clip) for path in _conditions(settings, inputs, clip)]
    models = load_video_models(cfg.models, ctx.device, ("unet", "controlnet", "vae", "image_encoder"))
    schedule = edm.EDMSchedule.from_config(models.scheduler, settings.steps)
    _check_inversion(inverted, clip, schedule, inputs["interpolation_inversion"])
    passes = _guided_interpolation(cfg, models, clip, inverted, pictures, ctx.max_batch)
    ends = encode_frames(models, torch.stack(pictures))
    predict, fusion = _fusion(settings, passes, ends, clip.numbers)
    start = _start_latents(inverted, clip, schedule, settings.seed)
    first, last = clip.numbers[0], clip.numbers[-1]
    log.info("segment %d: frames %d to %d in %d steps", cfg.segment, first, last, schedule.steps)
    with ctx.bar(f"interpolate segment {cfg.segment}") as bar:
        latents = sample(start, fusion, predict, schedule, bar)
    models.park_denoiser()
    frames = _anchored(decode_frames(models, latents), pictures, settings, inputs["render"], clip.numbers)
    _write_frames(frames, clip.numbers, out)
    log.info("wrote frames %d to %d", first, last)
    ctx.log_media("interpolate/middle_frame", out / frame_name((first + last) // 2))


def _guided_interpolation(
    cfg: InterpolateStage,
    models: VideoModels,
    clip: CoarseClip,
    inverted: InvertedClip,
    pictures: Sequence[Tensor],
    max_batch: int,
) -> GuidedInterpolation:
    """The denoiser of the segment, conditioned on pictures (3, H, W) of its first and, if given, last frame."""
    settings = cfg.interpolate
    denoiser = ClipDenoiser(models.unet, models.controlnet, settings.control_scale)
    control = denoiser.control(clip.depth)
    passes = [
        _directional_pass(
            clip,
            control,
            inverted,
            picture_condition(models, picture, clip.numbers[end], settings.noise_aug, settings.seed),
            settings,
            backwards=end != 0,
        )
        for picture, end in zip(pictures, ENDS, strict=False)
    ]
    return GuidedInterpolation(
        denoiser,
        passes[0],
        passes[1] if len(passes) > 1 else None,
        settings.guidance,
        _injection_layers(models, cfg.models.layers, settings),
        max_batch,
        unconditional=settings.guidance != 1 or settings.fusion.cfg_plus_plus,
    )


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


def _read_condition(path: Path, clip: CoarseClip) -> Tensor:
    """A picture (3, H, W) in [-1, 1]. Raises ArtifactError for another size than the render's."""
    picture = read_picture(path)
    if picture.shape != clip.rgb.shape[1:]:
        raise ArtifactError(
            f"{path} is {picture.shape[-1]}x{picture.shape[-2]} but the render is {clip.rgb.shape[-1]}x"
            f"{clip.rgb.shape[-2]}; delete {path.parent} and re-run its stage"
        )
    return picture


def _check_inversion(
    inverted: InvertedClip, clip: CoarseClip, schedule: edm.EDMSchedule, folder: Path
) -> None:
    """Raises ConfigError for another number of steps or noise levels, ArtifactError for other frames."""
    levels = torch.tensor(schedule.ascending())
    found = inverted.sigmas.cpu()
    if found.shape != levels.shape or not torch.allclose(found, levels, rtol=1e-4):
        raise ConfigError(
            f"interpolate.steps is {schedule.steps} but {folder} was inverted in {len(found) - 1} steps "
            "or at other noise levels; set interpolate.inversion.steps to the same number"
        )
    if inverted.forward.shape[1] != len(clip.numbers):
        raise ArtifactError(
            f"{folder} holds {inverted.forward.shape[1]} frames, the segment has {len(clip.numbers)}; "
            "delete the folder and re-run its stage"
        )


def _directional_pass(
    clip: CoarseClip,
    control: Tensor,
    inverted: InvertedClip,
    keyframe: PictureCondition,
    settings: InterpolateConfig,
    *,
    backwards: bool,
) -> DirectionalPass:
    """The pass from the first keyframe onwards, or from the last one backwards with all inputs reversed.

    control: (1, F, C_0, h, w), the clip's embedded depth in the order of the shot.
    Differs from the released code, unless compat_unflipped_masks: visibility is reversed with the frames.
    """
    if backwards:
        coarse, trajectory = (
            PictureCondition(inverted.reversed_embedding, inverted.reversed_latents),
            inverted.reversed,
        )
    else:
        coarse, trajectory = (
            PictureCondition(inverted.forward_embedding, inverted.forward_latents),
            inverted.forward,
        )
    flip_masks = backwards and not settings.compat_unflipped_masks
    time_ids = added_time_ids(settings.fps, settings.motion_bucket, settings.noise_aug).to(control.device)
    ordered = control.flip(1) if backwards else control
    return DirectionalPass(
        source=_source_latents(trajectory, inverted.sigmas, settings.compat_scaled_source),
        source_condition=_clip_condition(coarse, inverted.time_ids, ordered),
        condition=_clip_condition(keyframe, time_ids, ordered),
        visible=(clip.visible.flip(0) if flip_masks else clip.visible).to(control.device),
        reversed=backwards,
    )


def _clip_condition(picture: PictureCondition, time_ids: Tensor, control: Tensor) -> ClipCondition:
    return ClipCondition(picture.embedding[None], picture.latents[None], time_ids[None], control)


def _source_latents(trajectory: Tensor, sigmas: Tensor, scaled_twice: bool) -> Tensor:
    """What the source branch sees at each sampling step, (S, F, C, h, w): highest noise first.

    Differs from the released code, unless `scaled_twice`: that leaves the first one divided by
    sqrt(1 + sigma^2), as stored for the start, and the network's input scaling divides it again.
    """
    source = trajectory[1:].flip(0)
    if scaled_twice:
        source[0] = edm.unit_noise(source[0], float(sigmas[-1]))
    return source


def _start_latents(inverted: InvertedClip, clip: CoarseClip, schedule: edm.EDMSchedule, seed: int) -> Tensor:
    """What sampling starts from, (F, C, h, w): the forward inversion where visible, else seeded noise."""
    highest = inverted.forward[-1]
    fresh = frame_noise(clip.numbers, tuple(highest.shape[1:]), seed, "interpolate").to(highest.device)
    visible = nearest_resize(clip.visible, *highest.shape[-2:]).to(highest.device)
    return edm.start_latents(highest, visible, fresh, schedule)


def _fusion(
    settings: InterpolateConfig, passes: GuidedInterpolation, ends: Tensor, numbers: list[int]
) -> tuple[Predict, Fusion]:
    """What the sampler asks for predictions, and the rule by which it goes from level to level.

    ends: latents (1 or 2, C, h, w) of the pictures that stand for the first and, if known, the last frame.
    """
    options = settings.fusion
    predict: Predict = passes
    if options.replace_ends:
        predict = ReplacedEnds(passes, ends[0], ends[1] if len(ends) > 1 else None)
    alone = ForwardOnly(options.cfg_plus_plus)
    if settings.direction == "forward":
        return predict, alone

    def noise(step: int, repetition: int) -> Tensor:
        what = f"interpolate step {step} repetition {repetition}"
        return frame_noise(numbers, tuple(ends.shape[1:]), settings.seed, what).to(ends.device)

    both: Fusion
    if options.method == "sequential":
        both = Sequential(
            options.cfg_plus_plus, options.data_consistency, options.distill_until, ends[0], ends[1], noise
        )
    else:
        weights = reversed_weights(options.weights, len(numbers), options.power, ends.device)
        both = Blend(weights, options.cfg_plus_plus, options.distill_until, ends[1])
    if options.renoise:
        both = Repeated(both, options.renoise, options.renoise_until, noise)
    return predict, EarlyStop(both, settings.interp_strength, alone)


def _injection_layers(
    models: VideoModels, layers: VideoLayers, settings: InterpolateConfig
) -> InjectionLayers | None:
    """The layers of the UNet that the configuration names; None for the ablation without injection."""
    if not settings.injection:
        return None
    return InjectionLayers(
        attention=resolve_layers(models.unet, layers.attention),
        blocks=resolve_layers(models.unet, layers.block),
        tau_attention=settings.tau_attention,
        tau_block=settings.tau_block,
    )


def _anchored(
    frames: Tensor, pictures: Sequence[Tensor], settings: InterpolateConfig, render: Path, numbers: list[int]
) -> Tensor:
    """Frames (F, 3, H, W) uint8 with what they take over from the pictures of the ends that guide the last step."""
    guiding = pictures if settings.interp_strength == 1 else pictures[:1]
    if settings.anchor == "colour":
        return anchor_colour(frames, guiding)
    if settings.anchor == "detail":
        motion = read_control(render, frame_count(render), numbers).motion()
        if motion is not None:
            return anchor_detail(frames, guiding, motion)
        log.warning(
            "%s has no optical flow, along which detail could be carried; frames stay as decoded", render
        )
    return frames


def _write_frames(frames: Tensor, numbers: list[int], out: Path) -> None:
    """Writes each of the frames (F, 3, H, W) uint8 under its number."""
    for number, frame in zip(numbers, frames.permute(0, 2, 3, 1).contiguous().numpy(), strict=True):
        write_rgb(out / frame_name(number), frame)
