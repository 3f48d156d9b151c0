"""Stage interpolate: all frames between two keyframes, guided from both ends and by the coarse clip."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from i2v3d.artifacts import frame_name
from i2v3d.config import Index, InterpolateConfig, VideoLayers, VideoModelConfig
from i2v3d.diffusion import edm
from i2v3d.diffusion.fusion import fusion_rule
from i2v3d.diffusion.masks import nearest_resize
from i2v3d.errors import ArtifactError, ConfigError
from i2v3d.images import write_rgb
from i2v3d.injection import resolve_layers
from i2v3d.models.svd import VideoModels, added_time_ids, decode_frames, load_video_models
from i2v3d.models.video_denoiser import (
    ClipCondition,
    ClipDenoiser,
    DirectionalPass,
    GuidedInterpolation,
    InjectionLayers,
)
from i2v3d.randomness import frame_noise
from i2v3d.sections import section
from i2v3d.segments import (
    CoarseClip,
    InvertedClip,
    PictureCondition,
    picture_condition,
    read_coarse_clip,
    read_picture,
)
from i2v3d.stages.context import StageContext

log = logging.getLogger(__name__)

ENDS = (0, -1)  # a segment's first and last frame: its keyframes


@section
class InterpolateStage:
    """One segment's job. segment: 0-based."""

    models: VideoModelConfig
    interpolate: InterpolateConfig
    segment: Index


@torch.no_grad()
def interpolate_segment(
    cfg: InterpolateStage, inputs: Mapping[str, Path], out: Path, ctx: StageContext
) -> None:
    """Writes the F frames of the segment as 0001.png and so on, by frame number.

    inputs: 'render', this segment's 'interpolation_inversion', and 'keyframes', which condition the passes; or
    with the conditioning 'photo' 'scene' and the 'previous' segment, if there is one. The first and last frame
    written are decoded like the others. Source: section 4 of the method. Raises ConfigError or ArtifactError
    if inversion, keyframes and configuration do not fit.
    """
    settings = cfg.interpolate
    clip = read_coarse_clip(inputs["render"], settings.segment_frames, cfg.segment, settings.depth_range)
    inverted = InvertedClip.load(inputs["interpolation_inversion"], ctx.device)
    pictures = [_read_condition(path, clip) for path in _conditions(settings, inputs, clip)]
    models = load_video_models(cfg.models, ctx.device, ("unet", "controlnet", "vae", "image_encoder"))
    schedule = edm.EDMSchedule.from_config(models.scheduler, settings.steps)
    _check_inversion(inverted, clip, schedule, inputs["interpolation_inversion"])
    guided = _guided_interpolation(cfg, models, clip, inverted, pictures, ctx.max_batch)
    start = _start_latents(inverted, clip, schedule, settings.seed)
    first, last = clip.numbers[0], clip.numbers[-1]
    log.info("segment %d: frames %d to %d in %d steps", cfg.segment, first, last, schedule.steps)
    with ctx.bar(f"interpolate segment {cfg.segment}") as bar:
        latents = edm.sample(start, guided, schedule, bar)
    _write_frames(models, latents, clip.numbers, out)
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
        fusion_rule(settings.direction, settings.interp_strength),
        settings.guidance,
        _injection_layers(models, cfg.models.layers, settings),
        max_batch,
    )


def _conditions(settings: InterpolateConfig, inputs: Mapping[str, Path], clip: CoarseClip) -> list[Path]:
    """The pictures that stand for the segment's first and, when guided from both ends, its last frame."""
    if settings.conditioning == "photo":
        first = inputs["previous"] / frame_name(clip.numbers[0]) if "previous" in inputs else None
        return [first or inputs["scene"] / "photo.png"]
    ends = ENDS if settings.direction == "both" else ENDS[:1]
    return [inputs["keyframes"] / frame_name(clip.numbers[end]) for end in ends]


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
    coarse, trajectory = inverted.direction(backwards)
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


def _write_frames(models: VideoModels, latents: Tensor, numbers: list[int], out: Path) -> None:
    """Decodes the latents and writes each frame under its number."""
    frames = decode_frames(models, latents).permute(0, 2, 3, 1).contiguous().numpy()
    for number, frame in zip(numbers, frames, strict=True):
        write_rgb(out / frame_name(number), frame)
