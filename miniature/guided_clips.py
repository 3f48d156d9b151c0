"""Clips with their coarse twins, and the video model as guidance runs it: what `miniature.guided_video` trains on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from i2v3d.diffusion import edm
from i2v3d.guidance.injection import resolve_layers, submodule
from i2v3d.toy.architectures import VISION_SIDE
from i2v3d.toy.world.render import Frames
from miniature.data import clip_pixels, control_condition, disparity, to_bytes, to_signed
from miniature.guided_settings import GuidedVideoSettings
from miniature.image import encode
from miniature.video import ClipConditions, Eye, VideoModel, time_ids, velocity

ATTENTION = (
    "up_blocks.1.attentions.1.transformer_blocks.*.attn1",
    "up_blocks.2.attentions.[01].transformer_blocks.*.attn1",
)


class Side(NamedTuple):
    """N clips of one look. latents (N, F, C, h, w); marked (N, C, h, w): conditioning latents of the first frame;
    embed (N, D): its embedding."""

    latents: Tensor
    marked: Tensor
    embed: Tensor


class Pairs(NamedTuple):
    """N clips, lit and flat. depth (N, F, 1, H, W) in [-1, 1], scaled by one range a shot; noise (N, F, C, h, w): what
    the flat clip is inverted to."""

    photo: Side
    coarse: Side
    depth: Tensor
    noise: Tensor

    def rows(self, index: Tensor | slice) -> Pairs:
        """Some of the clips."""
        photo, coarse = (Side(*(t[index] for t in side)) for side in self[:2])
        return Pairs(photo, coarse, self.depth[index], self.noise[index])


@torch.no_grad()
def side_of(eye: Eye, pictures: Tensor, generator: torch.Generator | None) -> Side:
    """Clips (N, F, 3, H, W) in [0, 1], encoded. generator: of the noise on the conditioning picture; None has none."""
    shown = to_signed(to_bytes(pictures))
    first = shown[:, 0]
    noise = torch.zeros_like(first)
    if generator is not None:
        noise = eye.settings.augmentation * torch.randn(
            first.shape, generator=generator, device=generator.device
        )
    marked = encode(eye.vae, first + noise).half()
    embed = eye.vision(clip_pixels(first, VISION_SIDE)).image_embeds.float()
    return Side(encode(eye.vae, shown.flatten(0, 1)).half().unflatten(0, shown.shape[:2]), marked, embed)


def pairs_of(
    eye: Eye, frames: Frames, settings: GuidedVideoSettings, generator: torch.Generator | None
) -> Pairs:
    """Encoded clips, without noise. generator: of conditioning noise and range of depth; None has neither."""
    scaled = control_condition(disparity(frames.depth), settings.control, None)
    if generator is not None:
        drawn = torch.rand(len(scaled), 1, 1, 1, 1, generator=generator, device=scaled.device)
        scaled = scaled / (1 + (settings.control.range - 1) * drawn)
    photo, coarse = (side_of(eye, pictures, generator) for pictures in (frames.photo, frames.coarse))
    return Pairs(photo, coarse, (scaled * 2 - 1).half(), coarse.latents)


def conditions(side: Side, depth: Tensor, settings: GuidedVideoSettings) -> ClipConditions:
    """What clips are made from, with the ids that the pipeline tells."""
    ids = time_ids(settings, len(depth), depth.device).clone()
    ids[:, 0] = settings.fps_id_high
    keep = torch.ones(len(depth), device=depth.device)
    return ClipConditions(side.marked.float(), side.embed, ids, depth.float().expand(-1, -1, 3, -1, -1), keep)


def denoised(model: VideoModel, x: Tensor, sigma: float, given: ClipConditions) -> Tensor:
    """The clean clips behind x at one noise level."""
    level = torch.full((len(x),), sigma, device=x.device)
    return edm.denoised_from_velocity(velocity(model, x, level, given), x, sigma)


@torch.no_grad()
def invert(
    model: VideoModel, pairs: Pairs, schedule: edm.EDMSchedule, settings: GuidedVideoSettings
) -> Tensor:
    """The flat clips at every noise level, (S + 1, N, F, C, h, w), as the method inverts them."""
    given = conditions(pairs.coarse, pairs.depth, settings)
    return edm.invert(
        pairs.coarse.latents.float(), lambda x, level, step: denoised(model, x, level, given), schedule
    )


class _Injected:
    """Attention processor: the last clips take queries and keys of the first ones, where the flags say so."""

    def __init__(self, now: dict[str, Tensor]) -> None:
        self._now = now

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """hidden_states: (clips * F, tokens, channels)."""
        flags = self._now["flags"]
        own = flags.shape[0]

        def taken(features: Tensor) -> Tensor:
            mixed = torch.where(flags, features[:own], features[-own:])
            return torch.cat([features[:-own], mixed])

        query, key, value = (project(hidden_states) for project in (attn.to_q, attn.to_k, attn.to_v))
        heads = [t.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for t in (taken(query), taken(key), value)]
        out = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        result: Tensor = attn.to_out[1](attn.to_out[0](out))
        return result


@contextmanager
def injecting(network: Any) -> Iterator[dict[str, Tensor]]:
    """Inside, the last clips of a call take queries and keys of the first ones; `flags` (clips * F, 1, 1) bool, to be
    set before a call, says which."""
    now: dict[str, Tensor] = {}
    before = {}
    for name in resolve_layers(network, ATTENTION):
        layer = submodule(network, name)
        before[layer] = layer.processor
        layer.processor = _Injected(now)
    try:
        yield now
    finally:
        for layer, processor in before.items():
            layer.processor = processor
