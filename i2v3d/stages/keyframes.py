"""Stage keyframes: photo-like keyframes from the coarse renders under 3D guidance."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from i2v3d.artifacts.coarse import Renders, read_renders
from i2v3d.artifacts.folders import frame_name, keyframe_numbers
from i2v3d.artifacts.latents import InvertedKeyframes
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.artifacts.scene_folder import SceneFolder
from i2v3d.config.keyframes import KeyframesConfig
from i2v3d.config.stages import KeyframesStage
from i2v3d.diffusion.ddim import DDIM
from i2v3d.errors import ArtifactError, InputError
from i2v3d.guidance.anchoring import with_render_colour, with_render_detail
from i2v3d.guidance.branches import Branches
from i2v3d.guidance.fast_image import image_denoiser
from i2v3d.guidance.keyframe_denoiser import KeyframeInjection, KeyframeLayers
from i2v3d.guidance.keyframes import KeyframeGuidance, KnownFrame, guide_keyframes
from i2v3d.guidance.masks import FrameMasks, LayerMask
from i2v3d.images import Rgb, read_rgb, write_pictures
from i2v3d.models.sdxl import (
    ImageCondition,
    ImageModels,
    decode_latents,
    embed_depth,
    encode_images,
    encode_prompts,
    frame_condition,
    load_guided_models,
)
from i2v3d.randomness import frame_noise
from i2v3d.stages.context import StageContext

log = logging.getLogger(__name__)


def generate_keyframes(cfg: KeyframesStage, inputs: Mapping[str, Path], out: Path, ctx: StageContext) -> None:
    """Writes the keyframes as PNG files named by frame number.

    Reads render, lora, keyframe_inversion and, if the photo is the first keyframe or the true pictures are asked for,
    scene. Raises InputError if the scene does not know these, ArtifactError if the inversion belongs to other frames or
    steps or the photo has another size, ShapeError if the renders' size does not suit the networks, LayerError if a
    layer pattern matches nothing. Source: I2V3D, 3b to 3g of the method.
    """
    frames = keyframe_numbers(RenderFolder(inputs["render"]).frame_count(), cfg.segment_frames)
    if cfg.keyframes.source == "truth":
        _copy_truth(SceneFolder(inputs["scene"]), frames, out)
        return
    assert cfg.keyframes.source == "generated", "no keyframes are planned from the photo alone"
    inverted = InvertedKeyframes.load(inputs["keyframe_inversion"])
    inverted.check(inputs["keyframe_inversion"], frames, cfg.keyframes.steps)
    renders = read_renders(inputs["render"], frames, cfg.keyframes.depth_range, cfg.keyframes.render_light)
    models = load_guided_models(
        cfg.models, ctx.device, renders.size, inputs["lora"], ctx.memory, fast=ctx.fast
    )

    photo = _read_photo(inputs["scene"], renders) if cfg.keyframes.first == "photo" else None
    branches = _branches(cfg.keyframes, models, renders, inverted.prompt, ctx.max_batch)
    models = replace(models, text=None)
    latents = _sample(cfg, models, renders, inverted, branches, photo, ctx)
    models = replace(models, unet=None, controlnet=None, text=None)  # decoding needs the room
    pictures = decode_latents(models, latents, ctx.max_batch)
    if cfg.keyframes.render_detail:
        pictures = _with_detail(pictures, models, renders, cfg.keyframes.render_detail, ctx.max_batch)
    if cfg.keyframes.render_colour:
        pictures = _with_colour(pictures, renders, cfg.keyframes.render_colour)
    if photo is not None:
        pictures[0] = photo
    write_pictures(
        (out / frame_name(frame), picture) for frame, picture in zip(frames, pictures, strict=True)
    )
    for frame in frames:
        ctx.log_media(f"keyframes/{frame:04d}", out / frame_name(frame))
    log.info("wrote %d keyframes of %dx%d", len(frames), *reversed(renders.size))


def _copy_truth(scene: SceneFolder, frames: Sequence[int], out: Path) -> None:
    """The true pictures as keyframes. Raises InputError if the scene does not know them."""
    truth = scene.true_photos
    if truth is None:
        raise InputError(
            "keyframes.source is truth, but nobody knows the true pictures of this scene; use scene=toy or "
            "keyframes.source=generated"
        )
    write_pictures((out / frame_name(frame), read_rgb(truth / frame_name(frame))) for frame in frames)
    log.info("took %d true pictures as keyframes", len(frames))


def _with_detail(
    pictures: NDArray[np.uint8], models: ImageModels, renders: Renders, fraction: float, max_batch: int
) -> NDArray[np.uint8]:
    """Pictures (N, H, W, 3) with what the autoencoder loses of their renders, see `with_render_detail`."""
    coded = decode_latents(models, encode_images(models, renders.rgb, max_batch), max_batch)
    made, render, decoded = (_channels_first(rows) for rows in (pictures, renders.rgb, coded))
    return with_render_detail(made, render, decoded, renders.visible, fraction).permute(0, 2, 3, 1).numpy()


def _with_colour(pictures: NDArray[np.uint8], renders: Renders, fraction: float) -> NDArray[np.uint8]:
    """Pictures (N, H, W, 3) with colours of their renders, see `with_render_colour`."""
    made, render = _channels_first(pictures), _channels_first(renders.rgb)
    coloured = with_render_colour(made, render, renders.foreground, renders.visible, fraction)
    return coloured.permute(0, 2, 3, 1).numpy()


def _channels_first(pictures: NDArray[np.uint8]) -> torch.Tensor:
    """(N, H, W, 3) -> (N, 3, H, W)."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2)


def _read_photo(scene: Path, renders: Renders) -> Rgb:
    """The photo (H, W, 3). Raises ArtifactError unless it has the renders' size."""
    photo = read_rgb(scene / "photo.png").copy()  # torch wants arrays that may be written to
    if photo.shape[:2] != renders.size:
        raise ArtifactError(
            f"{scene / 'photo.png'} is {photo.shape[1]}x{photo.shape[0]} but the render is {renders.width}x"
            f"{renders.height}; set keyframes.first=generated"
        )
    return photo


def _sample(
    cfg: KeyframesStage,
    models: ImageModels,
    renders: Renders,
    inverted: InvertedKeyframes,
    branches: Branches[ImageCondition],
    photo: Rgb | None,
    ctx: StageContext,
) -> torch.Tensor:
    """The clean latents (N, C, h, w) of all keyframes. photo: (H, W, 3), the first one if it is not generated."""
    keyframes, layers, device = cfg.keyframes, cfg.models.layers, torch.device(ctx.device)
    masks = FrameMasks(LayerMask(renders.visible.to(device)), LayerMask(renders.foreground.to(device)))
    source = inverted.latents.to(device)  # once: every step finds its level on the device
    shape = tuple(source.shape[2:])
    noise = frame_noise(list(renders.frames), shape, keyframes.seed, "keyframes").to(device)
    known = None
    if photo is not None:
        known = KnownFrame(0, encode_images(models, photo[None], ctx.max_batch)[0], noise[0])
    with ctx.bar("keyframes") as bar:
        return guide_keyframes(
            image_denoiser(models, keyframes.control_scale, fast=ctx.fast or _wants_fast(keyframes, ctx)),
            KeyframeLayers(layers.attention, layers.conv),
            DDIM.from_config(models.scheduler, keyframes.steps),
            source,
            branches,
            masks,
            noise,
            _guidance(keyframes),
            max_batch=ctx.max_batch,
            known=known,
            on_step=bar,
        )[-1]


def _wants_fast(keyframes: KeyframesConfig, ctx: StageContext) -> bool:
    """Whether an option runs on fast networks alone, where nobody chose how networks run."""
    wanted = keyframes.cache_interval > 1 and ctx.weighing
    if wanted and not ctx.fast:
        log.info("keyframes.cache_interval is %d: networks run fast", keyframes.cache_interval)
    return wanted


def _guidance(keyframes: KeyframesConfig) -> KeyframeGuidance:
    """The options of the section as guidance takes them."""
    injection = None
    if keyframes.injection:
        injection = KeyframeInjection(
            keyframes.tau_foreground,
            keyframes.tau_background,
            keyframes.tau_conv,
            keyframes.compat_inclusive_tau,
        )
    return KeyframeGuidance(
        scale=keyframes.guidance,
        injection=injection,
        extended_attention=keyframes.extended_attention,
        shared=keyframes.shared,
        window=keyframes.window,
        overlap=keyframes.overlap,
        solver=keyframes.solver,
        unconditional_every=keyframes.unconditional_every,
        cache_interval=keyframes.cache_interval,
        strength=keyframes.strength,
    )


def _branches(
    keyframes: KeyframesConfig, models: ImageModels, renders: Renders, source_prompt: str, max_batch: int
) -> Branches[ImageCondition]:
    """The conditions of source, unconditional and conditional branch, one row a keyframe; a guidance of 1 reads no
    unconditional branch, so there is none."""
    prompts = encode_prompts(models, [source_prompt, keyframes.negative_prompt, keyframes.prompt])
    control = embed_depth(models, renders.depth, max_batch)
    scale, rows = keyframes.control_scale, len(renders.frames)
    source, negative, positive = (
        frame_condition(models, prompts.repeat(i, rows), renders.size, control, scale) for i in range(3)
    )
    return Branches(source, None if keyframes.guidance == 1 else negative, positive)
