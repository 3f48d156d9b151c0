"""Segments of held-out shots, drawn as the method draws them: what `miniature.guided_video` is measured by."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from i2v3d.diffusion import edm
from i2v3d.guidance.injection import FeatureCopy, InjectionPlan, inject, resolve_layers
from i2v3d.toy.world.render import Frames
from miniature.data import World, to_signed
from miniature.guided_clips import (
    ATTENTION,
    Pairs,
    conditions,
    denoised,
    invert,
    pairs_of,
    side_of,
)
from miniature.guided_settings import GuidedVideoSettings
from miniature.held_out import held_out_shots
from miniature.scores import psnr, save_grid
from miniature.video import ClipConditions, Eye, VideoModel


@torch.no_grad()
def draw(
    model: VideoModel,
    pairs: Pairs,
    levels: Tensor,
    schedule: edm.EDMSchedule,
    settings: GuidedVideoSettings,
    *,
    injection: bool,
) -> Tensor:
    """Clips' latents (N, F, C, h, w) as the method samples them from their first frame, without guidance.

    levels: what `invert` returns.
    """
    flat, lit = (conditions(side, pairs.depth, settings) for side in (pairs.coarse, pairs.photo))
    both = ClipConditions(*(torch.cat(column) for column in zip(flat, lit, strict=True)))
    copies = (FeatureCopy("query_key", resolve_layers(model.vunet, ATTENTION), None),) if injection else ()
    with inject(model.vunet, InjectionPlan(copies, branches=2)):

        def denoise(x: Tensor, level: float, step: int) -> Tensor:
            rows = torch.cat([levels[schedule.steps - step], x])
            return denoised(model, rows, level, both)[len(x) :]

        return edm.sample(levels[-1], denoise, schedule)


@torch.no_grad()
def evaluate(
    model: VideoModel,
    eye: Eye,
    world: World,
    schedule: edm.EDMSchedule,
    settings: GuidedVideoSettings,
    picture: Path,
) -> dict[str, float]:
    """PSNR in dB of shots of two segments from their first photo, each from the frame before it; writes a picture."""
    segment = settings.frames
    scenes = held_out_shots(settings.world, 2 * segment - 1, settings.held_out_pace)
    frames = world.renderer(scenes.to(world.device))
    truth, shown = to_signed(frames.photo), []
    scores: dict[str, float] = {}
    cuts = [slice(start, start + segment) for start in (0, segment - 1)]
    parts = [pairs_of(eye, Frames(*(tensor[:, cut] for tensor in frames)), settings, None) for cut in cuts]
    levels = [invert(model, part, schedule, settings) for part in parts]
    for name, injection in (("video", True), ("no_injection", False)):
        made = truth.clone()
        for cut, part, inverted in zip(cuts, parts, levels, strict=True):
            photo = side_of(eye, (made[:, cut] + 1).clamp(0, 2) / 2, None)
            begun = part._replace(photo=photo)
            clips = draw(model, begun, inverted, schedule, settings, injection=injection)
            again = torch.cat([eye.vae.decode(piece).sample for piece in clips.flatten(0, 1).split(32)])
            made[:, cut.start + 1 : cut.stop] = again.unflatten(0, clips.shape[:2])[:, 1:]
        shown.append(made)
        later, true = made[:, 1:].flatten(0, 1), truth[:, 1:].flatten(0, 1)
        inside = (frames.mask[:, 1:] > 0.5).flatten(0, 1)
        scores |= {f"psnr_{name}": psnr(later, true), f"psnr_{name}_fg": psnr(later, true, inside)}
    order = torch.linspace(0, truth.shape[1] - 1, 6).round().long()
    save_grid(
        torch.cat([row[i, order] for i in range(min(6, len(truth))) for row in (truth, *shown)]), 6, picture
    )
    return scores
