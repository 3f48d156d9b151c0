"""The contrastive pair: CLIP vision tower and the second text encoder."""

from __future__ import annotations

import logging
import random
from typing import Any

import torch
from torch import nn

from i2v3d.toy.architectures import VISION_SIDE, image_encoder, text_encoder_2
from miniature.data import World, clip_pixels, prompts, to_signed, token_ids
from miniature.gradients import plain
from miniature.loop import Run, optimise, save_half
from miniature.settings import ClipSettings

log = logging.getLogger(__name__)


def _embed(
    vision: Any, text: Any, pixels: torch.Tensor, ids: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    one, two = vision(pixels).image_embeds.float(), text(ids).text_embeds.float()
    return nn.functional.normalize(one, dim=-1), nn.functional.normalize(two, dim=-1)


def train_clip(settings: ClipSettings, run: Run) -> dict[str, float]:
    """Trains both towers on photos and their captions; writes te2.safetensors and vision.safetensors.

    run.weights: not used, the pair starts fresh. Returns the held-out top-1 rate of finding a photo's
    caption.
    """
    world, rng = World(settings.world, run.device, run.checkpoint), random.Random(run.stream)
    vision, text = image_encoder().to(run.device), text_encoder_2().to(run.device)
    logit_scale = nn.Parameter(torch.tensor(settings.temperature, device=run.device).log().neg())
    pixels, texts = [], []
    for scenes, frames in world.pool(1, run.stream):
        pixels.append(clip_pixels(to_signed(frames.photo[:, 0]), VISION_SIDE).half())
        texts += prompts(scenes, torch.zeros(scenes.size), None, rng.random)
    photos, ids = torch.cat(pixels), token_ids(texts).to(run.device)
    generator = torch.Generator(run.device).manual_seed(run.stream)

    def draw() -> tuple[torch.Tensor, ...]:
        index = torch.randint(len(photos), (settings.loop.batch,), generator=generator, device=run.device)
        return photos[index].float(), ids[index]

    def loss(pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        one, two = _embed(vision, text, pixels, tokens)
        logits = one @ two.T * logit_scale.exp().clamp(max=100)
        truth = torch.arange(len(logits), device=run.device)
        return (nn.functional.cross_entropy(logits, truth) + nn.functional.cross_entropy(logits.T, truth)) / 2

    parameters = [*vision.parameters(), *text.parameters(), logit_scale]
    gradients = plain(loss, draw, parameters, run.device)
    outcome = optimise(settings.loop, parameters, gradients, run, "clip", [generator])
    save_half(text, run.out / "te2.safetensors")
    save_half(vision, run.out / "vision.safetensors")
    scenes, frames = world.held_out(1)
    with torch.no_grad():
        held = token_ids(prompts(scenes, torch.zeros(scenes.size), None, rng.random)).to(run.device)
        one, two = _embed(vision, text, clip_pixels(to_signed(frames.photo[:, 0]), VISION_SIDE), held)
    found = (one @ two.T).argmax(dim=1) == torch.arange(len(one), device=run.device)
    return {"top1": float(found.float().mean()), "steps": outcome.steps, "seconds": outcome.seconds}
