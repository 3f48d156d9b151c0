"""Keyframes of held-out shots, drawn as the method draws them: what `miniature.guided_image` is measured by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2v3d.diffusion.ddim import DDIM
from miniature.data import World, to_signed
from miniature.guided_settings import GuidedImageSettings
from miniature.guided_shots import GuidedModel, Prompts, Shots, invert, shots_of
from miniature.held_out import held_out_shots
from miniature.scores import psnr, save_grid
from miniature.steering import Steered


@torch.no_grad()
def draw(
    model: GuidedModel,
    shots: Shots,
    book: Prompts,
    levels: Tensor,
    ddim: DDIM,
    settings: GuidedImageSettings,
    *,
    injection: bool,
    shared: bool,
    whole: bool,
) -> Tensor:
    """Keyframes' latents (N, K, C, h, w) as the method samples them, the first frame known, without guidance.

    levels: what `invert` returns.
    """
    (count, frames), device = shots.photo.shape[:2], shots.photo.device
    features, keep = (
        model.features(shots.depth.flatten(0, 1)).repeat(2, 1, 1, 1),
        torch.ones(1, device=device),
    )
    numbers = torch.cat([torch.zeros_like(shots.full), shots.full]).repeat_interleave(frames)
    generator = torch.Generator().manual_seed(settings.world.seed)
    noise = torch.randn(shots.photo[:, 0].shape, generator=generator).to(device)
    photo = shots.photo[:, 0].float()
    x = levels[-1].clone()
    with model.steering:
        for level in range(ddim.steps, 0, -1):
            alpha, step = ddim.alpha_bar[level], ddim.steps - level
            x[:, 0] = alpha**0.5 * photo + (1 - alpha) ** 0.5 * noise

            def flag(value: bool) -> Tensor:
                return torch.full((count,), value, device=device)

            model.steering.now = Steered(
                shots.foreground,
                flag(injection),
                flag(step < settings.tau_background * ddim.steps),
                flag(injection and step < settings.tau_conv * ddim.steps),
                flag(shared),
                flag(whole),
            )
            rows = torch.cat([levels[level - 1].flatten(0, 1), x.flatten(0, 1)])
            timestep = torch.full((len(rows),), ddim.timesteps[level - 1], device=device)
            predicted = model.predict(rows, timestep, features, keep.expand(len(rows)), book[numbers])
            x = ddim.move(x, predicted[count * frames :].view_as(x), level, level - 1)
            model.steering.now = None
    x[:, 0] = photo
    return x


@torch.no_grad()
def evaluate(
    model: GuidedModel, vae: Any, world: World, ddim: DDIM, settings: GuidedImageSettings, picture: Path
) -> dict[str, float]:
    """PSNR in dB of the keyframes after the first against the true photos, and of the coarse renders; writes a
    picture."""
    scenes = held_out_shots(settings.world, settings.frames, settings.held_out_pace).to(world.device)
    frames, book = world.renderer(scenes), Prompts()
    shots = shots_of(scenes, frames, vae, book, settings, None)
    book.encode(model.networks, world.device)
    truth = to_signed(frames.photo)
    ways = {
        "keyframes": (True, True, False),
        "whole": (True, True, True),
        "whole_no_injection": (False, True, True),
        "no_injection": (False, True, False),
        "not_shared": (True, False, False),
    }
    shown = [truth, to_signed(frames.coarse)]
    scores: dict[str, float] = {}

    true, inside = (tensor[:, 1:].flatten(0, 1) for tensor in (truth, frames.mask > 0.5))

    def score(name: str, pictures: Tensor) -> None:
        made = pictures[:, 1:].flatten(0, 1)
        scores[f"psnr_{name}"], scores[f"psnr_{name}_fg"] = psnr(made, true), psnr(made, true, inside)

    levels = invert(model, shots, book, ddim)
    for name, (injection, shared, whole) in ways.items():
        latents = draw(
            model, shots, book, levels, ddim, settings, injection=injection, shared=shared, whole=whole
        )
        parts = [vae.decode(part).sample for part in latents.flatten(0, 1).split(32)]
        shown.append(torch.cat(parts).view(truth.shape))
        score(name, shown[-1])
    score("coarse", shown[1])
    scores["gain"] = scores["psnr_keyframes"] - scores["psnr_coarse"]
    rows = [clip[i] for i in range(min(6, len(truth))) for clip in shown[:4]]
    save_grid(torch.cat(rows), settings.frames, picture)
    return scores
