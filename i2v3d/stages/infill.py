"""Stage infill: all frames of a segment, filled in between the frames that are known, under the render's control."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from i2v3d.artifacts.coarse import Renders, read_coarse_shot, read_end_picture, read_renders
from i2v3d.artifacts.folders import check_clip_frames, frame_name, keyframe_numbers, segment_frame_numbers
from i2v3d.artifacts.pictures import signed_pictures
from i2v3d.artifacts.prompts import EmbeddedPrompts
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.artifacts.tensors import require_finite
from i2v3d.config.infill import InfillConfig
from i2v3d.config.stages import InfillStage
from i2v3d.diffusion.denoiser import BothBranches, Predict
from i2v3d.diffusion.flow_matching import integrate
from i2v3d.diffusion.guidance import Guided
from i2v3d.errors import ArtifactError
from i2v3d.guidance.control_clip import KEEP, Background, ControlClip, control_clip, pasted
from i2v3d.guidance.control_pictures import flow_pictures, grey_pictures, line_pictures
from i2v3d.images import write_pictures
from i2v3d.metrics.fidelity import psnr
from i2v3d.models.fast.fill import compile_blocks, compiling_pays, fuse_gelu, keep_token_order
from i2v3d.models.wan_vace import ClipAutoencoder, FillCondition, FillNetwork, control_latents
from i2v3d.models.wan_vace_weights import (
    check_pair,
    load_scheduler,
    load_transformer,
    place_transformer,
)
from i2v3d.randomness import frame_noise, noise
from i2v3d.stages.context import StageContext

log = logging.getLogger(__name__)

TILED_GB = 12  # cards up to this size decode tile by tile: whole frames of 832x480 take 9 GiB


@torch.no_grad()
def fill_segment(cfg: InfillStage, inputs: Mapping[str, Path], out: Path, ctx: StageContext) -> None:
    """Writes the F frames of the segment as 0001.png and so on, by frame number.

    inputs: 'scene' with the photo, 'render', 'text', and 'keyframes' unless the photo is the only one; for a segment
    that starts with the one before it, also 'previous'. Raises ConfigError or ShapeError if length or size do not suit
    the video model, ArtifactError if pictures and render do not fit.
    """
    settings = cfg.infill
    clip, numbers = segment_clip(cfg, inputs)
    overlap = _overlap(settings, inputs)
    log.info("segment %d: frames %d to %d in %d steps", cfg.segment, numbers[0], numbers[-1], settings.steps)
    frames = _filled(cfg, EmbeddedPrompts.load(inputs["text"]), clip, numbers, ctx)
    rows = frames.permute(0, 2, 3, 1).contiguous().numpy()
    write_pictures(
        (out / frame_name(n), row) for n, row in zip(numbers[overlap:], rows[overlap:], strict=True)
    )
    ctx.log_media("infill/middle_frame", out / frame_name((numbers[overlap] + numbers[-1]) // 2))


def segment_clip(cfg: InfillStage, inputs: Mapping[str, Path]) -> tuple[ControlClip, list[int]]:
    """What the model is told of the segment, and its frames' numbers; see `fill_segment`."""
    numbers = _numbers(cfg, inputs["render"], _overlap(cfg.infill, inputs))
    renders = read_renders(inputs["render"], numbers, cfg.infill.depth_range)
    return _clip(cfg.infill, inputs, renders, _overlap(cfg.infill, inputs)), numbers


def _overlap(settings: InfillConfig, inputs: Mapping[str, Path]) -> int:
    """How many frames of the segment before are kept beside the shared one."""
    return settings.overlap if settings.start == "overlap" and "previous" in inputs else 0


def _numbers(cfg: InfillStage, render: Path, overlap: int) -> list[int]:
    """The clip's frame numbers: the segment's, after `overlap` frames of the segment before."""
    keyframes = keyframe_numbers(RenderFolder(render).frame_count(), cfg.infill.segment_frames)
    if cfg.segment >= len(keyframes) - 1:
        raise ArtifactError(
            f"segment {cfg.segment} of {render} does not exist: its shot has segments 0 to {len(keyframes) - 2}; run "
            "snakemake again, which plans them"
        )
    numbers = segment_frame_numbers(keyframes, cfg.segment)
    return [*range(numbers[0] - overlap, numbers[0]), *numbers]


def _clip(settings: InfillConfig, inputs: Mapping[str, Path], renders: Renders, overlap: int) -> ControlClip:
    """What is known of the segment and what steers the rest."""
    known = {
        position % len(renders.frames): read_end_picture(path, renders.size)
        for position, path in _known(settings, inputs, renders.frames, overlap).items()
    }
    known_pixels = torch.zeros(len(renders.frames), *renders.size, dtype=torch.bool)
    background = Background(signed_pictures(renders.rgb), known_pixels)
    if settings.keep == "background":
        background = Background(background.rgb, renders.visible & ~renders.foreground)
    if settings.ends == "two":
        background = _with_neighbours(background, known, inputs["render"], renders.frames)
    photo = inputs["scene"] / "photo.png"
    return control_clip(
        (len(renders.frames), *renders.size),
        _control(settings, inputs["render"], renders),
        known,
        background,
        read_end_picture(photo, renders.size) if settings.reference else None,
    )


def _known(
    settings: InfillConfig, inputs: Mapping[str, Path], numbers: tuple[int, ...], overlap: int
) -> dict[int, Path]:
    """Position in the clip -> the picture that is kept there."""
    generated = settings.keyframes != "photo"
    if "previous" in inputs:
        known = {at: inputs["previous"] / frame_name(numbers[at]) for at in range(overlap + 1)}
    elif generated:
        known = {0: inputs["keyframes"] / frame_name(numbers[0])}
    else:
        known = {0: inputs["scene"] / "photo.png"}
    return known | ({-1: inputs["keyframes"] / frame_name(numbers[-1])} if generated else {})


def _with_neighbours(
    background: Background, known: Mapping[int, Tensor], render: Path, numbers: tuple[int, ...]
) -> Background:
    """The known pixels with those of the frames beside known ones, moved along the render's flow.

    Raises ArtifactError if the render has no flow.
    """
    rgb, pixels, total = background.rgb.clone(), background.known.clone(), RenderFolder(render).frame_count()
    for at, step in ((min(known), 1), (max(known), -1)):
        beside = at + step
        if beside in known or not 0 <= beside < len(numbers):
            continue
        pair = sorted((numbers[at], numbers[beside]))
        motion = read_coarse_shot(render, total, pair).motion()
        if motion is None:
            raise ArtifactError(
                f"{render} has no optical flow, which infill.ends=two needs; set infill.ends=one"
            )
        back = motion if step < 0 else motion.reversed()
        rgb[beside] = torch.where(back.seen[0], back.carried(known[at])[0].clamp(-1, 1), rgb[beside])
        pixels[beside] |= back.seen[0]
    return Background(rgb, pixels)


def _control(settings: InfillConfig, render: Path, renders: Renders) -> Tensor | None:
    """The pass that steers what is generated, (F, 3, H, W) in [-1, 1]; None for none."""
    if settings.control == "none":
        return None
    if settings.control == "depth":
        return (2 * renders.depth - 1)[:, None].expand(-1, 3, -1, -1)
    if settings.control == "grey":
        return grey_pictures(signed_pictures(renders.rgb))
    if settings.control == "lines":
        return line_pictures(renders.depth, renders.foreground)
    return _flow(RenderFolder(render), renders.frames)


def _flow(folder: RenderFolder, numbers: tuple[int, ...]) -> Tensor:
    """How each frame has moved since the one before it; the first one as the second. One scale for the shot."""
    if not folder.has_flow:
        raise ArtifactError(f"{folder.path} has no optical flow; set infill.control to depth, grey or lines")
    largest = max(
        float(torch.from_numpy(folder.flow_px(n)).norm(dim=-1).max()) for n in range(1, folder.frame_count())
    )
    moved = [folder.flow_px(max(number - 1, numbers[0])) for number in numbers]
    return flow_pictures(torch.stack([torch.from_numpy(flow) for flow in moved]), largest)


def _filled(
    cfg: InfillStage, prompts: EmbeddedPrompts, clip: ControlClip, numbers: list[int], ctx: StageContext
) -> Tensor:
    """The clip's frames (F, 3, H, W) uint8, known pixels put back as the configuration says.

    VAE and transformer take turns on the device: neither needs the other's memory.
    """
    settings = cfg.infill
    autoencoder = ClipAutoencoder.load(cfg.models.base, ctx.device)
    check_clip_frames(len(numbers), autoencoder.stride)
    control = control_latents(autoencoder, clip.video, clip.mask, clip.reference)
    autoencoder.vae.to("cpu")
    latents = _sampled(cfg, prompts, control, autoencoder, clip, numbers, ctx)
    autoencoder.vae.to(ctx.device)
    made = latents[0, 0 if clip.reference is None else 1 :].transpose(0, 1)
    frames = autoencoder.decode(made, in_tiles=ctx.memory.gb <= TILED_GB)
    require_finite(frames, "decoded frames")
    ctx.log_metrics(_hits(frames, clip))
    if settings.paste != "nothing":
        frames = pasted(frames, clip, whole_frames_only=settings.paste == "frames")
    return ((frames + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _sampled(
    cfg: InfillStage, prompts: EmbeddedPrompts, control: Tensor, autoencoder: ClipAutoencoder, clip: ControlClip,
    numbers: list[int], ctx: StageContext
) -> Tensor:  # fmt: skip
    """The clip's latents (1, T, C, h, w), those of the reference first; the transformer is gone afterwards."""
    settings = cfg.infill
    transformer = load_transformer(cfg.models, "cpu")
    check_pair(transformer, autoencoder, prompts.positive, (clip.video.shape[2], clip.video.shape[3]))
    start = start_latents(settings, numbers, autoencoder, clip).to(ctx.device)
    branches = 1 if settings.guidance == 1 else 2
    at_once = min(branches, max(1, ctx.max_batch // start.shape[1]) if ctx.max_batch else branches)
    tokens = at_once * start.numel() // start.shape[2] // math.prod(transformer.config.patch_size)
    whole = place_transformer(transformer, ctx.device, tokens, ctx.memory.gb)
    keep_token_order(transformer)
    if ctx.fast and whole:
        if cfg.models.storage is None:
            fuse_gelu(transformer)
        roomy = ctx.memory.gb > TILED_GB  # compiled calls of 81 frames of 832x480 held 13 GiB
        if not ctx.weighing or (roomy and compiling_pays(settings.steps * branches // at_once, tokens)):
            compile_blocks(transformer)
    network = FillNetwork(transformer, settings.control_scale)
    with ctx.bar(f"infill segment {cfg.segment}") as bar:
        return integrate(
            load_scheduler(cfg.models.base, settings.flow_shift),
            settings.steps,
            start,
            _predict(settings, network, prompts, control, ctx.max_batch),
            bar,
        )


def _hits(frames: Tensor, clip: ControlClip) -> dict[str, float]:
    """How near the model's own frames come to those that are kept as a whole, in dB, by position from 1."""
    kept = (clip.mask == KEEP).flatten(1).all(1).nonzero().flatten().tolist()
    return {
        f"kept_frame_psnr/{at + 1}": float(
            psnr((frames[at : at + 1] + 1) / 2, (clip.video[at : at + 1] + 1) / 2)
        )
        for at in kept
    }


def start_latents(
    settings: InfillConfig, numbers: list[int], autoencoder: ClipAutoencoder, clip: ControlClip
) -> Tensor:
    """The latents (1, T, C, h, w) that sampling starts from: of each by the first frame that it stands for."""
    height, width = (side // autoencoder.factor for side in clip.video.shape[2:])
    shape = (int(autoencoder.vae.config.z_dim), height, width)
    firsts = [numbers[0], *numbers[1 :: autoencoder.stride]]
    latents = frame_noise(firsts, shape, settings.seed, "infill")
    if clip.reference is not None:
        latents = torch.cat([noise(shape, settings.seed, "infill", "reference")[None], latents])
    return latents[None]


def _predict(
    settings: InfillConfig, network: FillNetwork, prompts: EmbeddedPrompts, control: Tensor, max_batch: int
) -> Predict:
    """The network under classifier-free guidance between the two prompts; both see the control."""
    text = torch.stack([prompts.negative, prompts.positive]).to(control.device)
    conditions = FillCondition(text, torch.stack([control, control]))
    if settings.guidance == 1:  # the negative prompt has no say
        positive = conditions.rows(slice(1, 2))
        return lambda x, level, step: network(x, level, positive)
    return Guided(BothBranches(network, conditions, max_batch), settings.guidance).predict
