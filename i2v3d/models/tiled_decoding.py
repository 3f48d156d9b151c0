"""Wan's video decoder tile by tile: less memory, the same frames.

Its norms look at one place alone and only its middle at the whole picture. So the middle is computed for whole frames,
and the rest, whose features are large, for tiles with a margin as wide as its convolutions reach: nothing is blended.
Shapes: T latent frames, F frames, C channels, (h, w) latent size, (H, W) pixels.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanUpBlock
from torch import Tensor

CACHED = 2  # frames that a causal convolution remembers


def tileable(vae: Any) -> bool:
    """Whether the decoder is of the kind that is decoded tile by tile here, without patches of pixels."""
    return vae.config.patch_size is None and all(type(b) is WanUpBlock for b in vae.decoder.up_blocks)


def reach(decoder: Any) -> int:
    """How far a pixel looks beside it behind the middle, in latents, rounded up."""
    latents, pixels = 0.0, 1
    for block in decoder.up_blocks:
        latents += 2 * len(block.resnets) / pixels
        if block.upsamplers is not None:
            pixels *= 2
            latents += 1 / pixels
    return math.ceil(latents + 1 / pixels)


@torch.no_grad()
def decode_in_tiles(vae: Any, latents: Tensor, tiles: tuple[int, int]) -> Tensor:
    """Frames (F, 3, H, W) in [-1, 1] on the CPU of latents (C, T, h, w) that are not normalised.

    tiles: along height and width.
    """
    decoder, margin = vae.decoder, reach(vae.decoder)
    middles, done = _middles(vae, latents)
    factor = 2 ** sum(block.upsamplers is not None for block in decoder.up_blocks)
    height, width = latents.shape[2:]
    frames = torch.empty(0)
    for rows, columns in itertools.product(_parts(height, tiles[0]), _parts(width, tiles[1])):
        (top, inner_rows), (left, inner_columns) = (
            _widened(rows, margin, height),
            _widened(columns, margin, width),
        )
        pixels = _upper(decoder, [m[..., top, left] for m in middles], done)
        if not len(frames):
            frames = pixels.new_empty(pixels.shape[2], 3, height * factor, width * factor, device="cpu")
        inner = pixels[0, ..., _times(inner_rows, factor), _times(inner_columns, factor)].transpose(0, 1)
        frames[..., _times(rows, factor), _times(columns, factor)] = inner.clamp(-1, 1).cpu()
    return frames


def _middles(vae: Any, latents: Tensor) -> tuple[list[Tensor], int]:
    """What the middle makes of each latent frame, (1, C', 1, h, w), and how many convolutions are behind it."""
    decoder, cache, index = vae.decoder, _cache(vae.decoder), [0]
    middles = []
    for frame in vae.post_quant_conv(latents[None]).split(1, dim=2):
        index = [0]
        x = _causal(decoder.conv_in, frame, cache, index)
        middles.append(decoder.mid_block(x, feat_cache=cache, feat_idx=index))
    return middles, index[0]


def _upper(decoder: Any, middles: list[Tensor], done: int) -> Tensor:
    """Pixels (1, 3, F, H, W) of a tile, not clamped. done: convolutions in front of the upper blocks."""
    cache, made = _cache(decoder), []
    for number, x in enumerate(middles):
        index = [done]
        for block in decoder.up_blocks:
            x = block(x, feat_cache=cache, feat_idx=index, first_chunk=number == 0)
        x = decoder.nonlinearity(decoder.norm_out(x))
        made.append(_causal(decoder.conv_out, x, cache, index))
    return torch.cat(made, dim=2)


def _cache(decoder: Any) -> list[Any]:
    """What causal convolutions remember, nothing yet: an entry each, in the order in which they are called."""
    return [None] * sum(isinstance(module, WanCausalConv3d) for module in decoder.modules())


def _causal(convolution: Any, x: Tensor, cache: list[Any], index: list[int]) -> Tensor:
    """A causal convolution of the next frames x, as the decoder calls it."""
    before, last = cache[index[0]], x[:, :, -CACHED:].clone()
    if last.shape[2] < CACHED and before is not None:
        last = torch.cat([before[:, :, -1:], last], dim=2)
    made: Tensor = convolution(x, before)
    cache[index[0]] = last
    index[0] += 1
    return made


def _parts(size: int, count: int) -> list[slice]:
    edges = [round(size * part / count) for part in range(count + 1)]
    return [slice(*pair) for pair in itertools.pairwise(edges)]


def _widened(part: slice, margin: int, size: int) -> tuple[slice, slice]:
    """A part with its margin, and where in that the part lies."""
    first = max(part.start - margin, 0)
    return slice(first, min(part.stop + margin, size)), slice(part.start - first, part.stop - first)


def _times(part: slice, factor: int) -> slice:
    return slice(part.start * factor, part.stop * factor)
