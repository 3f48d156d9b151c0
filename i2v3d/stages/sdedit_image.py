"""Stage sdedit_image: the baseline that refines each coarse frame by SDEdit with the customised image model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch

from i2v3d.artifacts.coarse import Renders, read_renders
from i2v3d.artifacts.folders import frame_name
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.config.keyframes import SDEditImageConfig
from i2v3d.config.stages import SDEditImageStage
from i2v3d.diffusion.ddim import DDIM
from i2v3d.diffusion.denoiser import BothBranches
from i2v3d.diffusion.guidance import Guided
from i2v3d.diffusion.sdedit import add_noise, sample_from, steps_run
from i2v3d.images import write_rgb
from i2v3d.models.sdxl import (
    ImageCondition,
    ImageDenoiser,
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


@torch.no_grad()
def refine_frames(cfg: SDEditImageStage, inputs: Mapping[str, Path], out: Path, ctx: StageContext) -> None:
    """Writes every frame of the shot: the coarse one with the noise of `strength`, denoised again.

    inputs: 'render' and 'lora'. Each frame has noise of its own and sees no other frame. Raises ShapeError if
    the renders' size does not suit the networks. Source: Meng et al., SDEdit, 2022.
    """
    sdedit = cfg.sdedit
    frames = list(range(1, RenderFolder(inputs["render"]).frame_count() + 1))
    renders = read_renders(inputs["render"], frames, sdedit.depth_range)
    models = load_guided_models(
        cfg.models, ctx.device, renders.size, inputs["lora"], ctx.memory.resident, fast=ctx.fast
    )
    condition = _condition(sdedit, models, renders, ctx.max_batch)
    clean = encode_images(models, renders.rgb, ctx.max_batch)
    noise = frame_noise(frames, tuple(clean.shape[1:]), sdedit.seed, "sdedit image").to(clean.device)
    ddim = DDIM.from_config(models.scheduler, sdedit.steps)
    level = steps_run(sdedit.steps, sdedit.strength)
    log.info("refining %d frames in %d of %d steps", len(frames), level, sdedit.steps)

    guided = Guided(BothBranches(ImageDenoiser.of(models), condition, ctx.max_batch), sdedit.guidance)
    with ctx.bar("refine frames") as bar:
        latents = sample_from(ddim, add_noise(ddim, clean, noise, level), guided.predict, level, bar)
    for number, picture in zip(frames, decode_latents(models, latents, ctx.max_batch), strict=True):
        write_rgb(out / frame_name(number), picture)
    ctx.log_media("sdedit_image/middle_frame", out / frame_name((1 + len(frames)) // 2))


def _condition(
    sdedit: SDEditImageConfig, models: ImageModels, renders: Renders, max_batch: int
) -> ImageCondition:
    """The conditions of the unconditional rows of all frames, then of the conditional ones."""
    prompts = encode_prompts(models, [sdedit.negative_prompt, sdedit.prompt])
    control = embed_depth(models, renders.depth, max_batch)
    return ImageCondition.join(
        [
            frame_condition(
                models,
                prompts.repeat(row, len(renders.frames)),
                renders.size,
                control,
                sdedit.control_scale,
            )
            for row in (0, 1)
        ]
    )
