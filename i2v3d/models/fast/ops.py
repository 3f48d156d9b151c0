"""What the fast networks are made of, on features in channels-last order: (N pictures, L places, C channels).

On a GPU the memory-bound ones are Triton kernels, elsewhere the same mathematics in plain torch operations. Moments
of norms are float32 in both. `shift` is added before a norm: biases and embeddings that a layer would otherwise
add in a pass of its own, (S, C) with S a divisor of N, one row for each N / S neighbouring pictures.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

FUSED_WIDTH = 640
"""Channels up to which a feed-forward layer and its gate are one kernel."""


def _kernels(what: str) -> Any:
    return importlib.import_module(f"i2v3d.models.fast.kernels_{what}")


def _per_picture(shift: Tensor, pictures: int) -> Tensor:
    """(S, C) -> (N, 1, C)."""
    return shift.repeat_interleave(pictures // shift.shape[0], dim=0)[:, None]


def group_norm(
    x: Tensor, norm: Any, shift: Tensor | None = None, *, frames: int = 1, silu: bool = False
) -> Tensor:
    """Group norm of x + shift, (N, L, C); moments over `frames` neighbouring pictures; then SiLU if asked.

    norm: a torch.nn.GroupNorm with affine weights.
    """
    if x.is_cuda:
        kernels = _kernels("norms")
        result: Tensor = kernels.group_norm(
            x, norm.num_groups, norm.weight, norm.bias, norm.eps, shift, frames, silu
        )
        return result
    if shift is not None:
        x = x + _per_picture(shift, len(x))
    clips = x.unflatten(0, (-1, frames)).flatten(1, 2).transpose(1, 2)
    normed = functional.group_norm(clips, norm.num_groups, norm.weight, norm.bias, norm.eps)
    normed = normed.transpose(1, 2).reshape(x.shape)
    return functional.silu(normed) if silu else normed


def layer_norm(
    x: Tensor, norm: Any, shift: Tensor | None = None, delta: Tensor | None = None, *, keep: bool = False
) -> tuple[Tensor, Tensor]:
    """x + delta + shift and its layer norm, both (N, L, C). norm: a torch.nn.LayerNorm.

    The sum takes the place of x in memory, unless x is to be kept.
    """
    if shift is None and delta is None:
        total = x
    else:
        total = torch.empty_like(x) if keep else x
    if x.is_cuda:
        return total, _kernels("norms").layer_norm(x, norm.weight, norm.bias, norm.eps, shift, delta, total)
    if delta is not None:
        x = x + delta
    if shift is not None:
        x = x + _per_picture(shift, len(x))
    total.copy_(x)
    return total, functional.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def gated_linear(x: Tensor, layer: Any) -> Tensor:
    """a * gelu(g) of [a | g] = layer(x); (..., C) -> (..., D) for a linear layer C -> 2 D.

    On a GPU narrow layers, which are bound by memory, do both in one kernel.
    """
    if x.is_cuda and x.shape[-1] <= FUSED_WIDTH and x.shape[-1] % 64 == 0:
        result: Tensor = _kernels("products").gated_linear(x, layer.weight, layer.bias)
        return result
    return gated_gelu(functional.linear(x, layer.weight, layer.bias))


def gated_gelu(x: Tensor) -> Tensor:
    """(..., 2 D) = [a | g] -> a * gelu(g), (..., D). Source: Shazeer, GLU Variants Improve Transformer, 2020."""
    if x.is_cuda:
        result: Tensor = _kernels("products").gated_gelu(x)
        return result
    a, g = x.chunk(2, dim=-1)
    return a * functional.gelu(g)


def residual(x: Tensor, h: Tensor, shift: Tensor, gain: Tensor) -> Tensor:
    """x + gain * (h + shift); x, h: (N, L, C), gain: one number as a tensor."""
    if x.is_cuda:
        result: Tensor = _kernels("norms").residual(x, h, shift, gain)
        return result
    return x + gain * (h + _per_picture(shift, len(h)))


def blend(x: Tensor, m: Tensor, h: Tensor, shift: Tensor, gain: Tensor) -> Tensor:
    """(1 - gain) x + gain (m + h + shift); x, m, h: (N, L, C); shift: (C,); gain: one number as a tensor."""
    if x.is_cuda:
        result: Tensor = _kernels("norms").blend(x, m, h, shift, gain)
        return result
    return x + gain * (m + h + shift - x)


def frames_attention(qkv: Tensor, frames: int, heads: int) -> Tensor:
    """Self-attention among the F frames of each clip at each place. qkv: (B * F, L, 3 C) -> (B * F, L, C).

    Flash attention is made for long sequences; here they have F entries and there are B * L * heads of them.
    """
    if qkv.is_cuda:
        result: Tensor = _kernels("products").frames_attention(qkv, frames, heads)
        return result
    clips = qkv.unflatten(0, (-1, frames)).unflatten(-1, (3, heads, -1))
    query, key, value = clips.permute(3, 0, 2, 4, 1, 5)  # each (B, L, heads, F, width)
    attended = functional.scaled_dot_product_attention(query, key, value)
    return attended.permute(0, 3, 1, 2, 4).flatten(0, 1).flatten(-2)


def self_attention(qkv: Tensor, heads: int) -> Tensor:
    """Self-attention among the places of each picture. qkv: (N, L, 3 C) -> (N, L, C)."""
    query, key, value = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(-2)


def conv(x: Tensor, size: tuple[int, int], layer: Any) -> tuple[Tensor, tuple[int, int]]:
    """A two-dimensional convolution without its bias: (N, h * w, C) -> (N, h' * w', C'), and (h', w')."""
    pictures = x.unflatten(1, size).permute(0, 3, 1, 2)
    y = functional.conv2d(pictures, layer.weight, None, layer.stride, layer.padding)
    y = y.permute(0, 2, 3, 1)
    return y.flatten(1, 2), (y.shape[1], y.shape[2])


def pointwise(x: Tensor, size: tuple[int, int], layer: Any) -> Tensor:
    """A convolution of one place without its bias: (N, h * w, C) -> (N, h * w, C').

    A matrix product; in float32 a convolution, for which torch takes TensorFloat-32 as it does for all others.
    """
    if x.dtype == torch.float32:
        return conv(x, size, layer)[0]
    return functional.linear(x, layer.weight.flatten(1))


def frames_conv(x: Tensor, weight: Tensor, frames: int) -> Tensor:
    """A convolution of three taps along the frames, without bias. x: (B * F, L, C); weight: (C', C, 3, 1).

    Places are the width of a picture whose height are the frames: a two-dimensional one in channels-last order.
    """
    clips = x.unflatten(0, (-1, frames)).permute(0, 3, 1, 2)
    y = functional.conv2d(clips, weight, padding=(1, 0))
    return y.permute(0, 2, 3, 1).flatten(0, 1)


def upsample(x: Tensor, size: tuple[int, int], target: tuple[int, int]) -> Tensor:
    """Nearest-neighbour: (N, h * w, C) -> (N, H * W, C)."""
    pictures = x.unflatten(1, size).permute(0, 3, 1, 2)
    large = functional.interpolate(pictures, size=target, mode="nearest")
    return large.permute(0, 2, 3, 1).flatten(1, 2)


def channels_last(layer: torch.nn.Conv2d) -> None:
    """Lays a convolution's weights out as channels-last features want them; their values stay."""
    layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Sequences:
    """Attention within a ragged set of sequences, of queries and keys that are picked from one list of tokens.

    queries, keys: token numbers, sequence after sequence; a token may be key in several but is query in exactly one:
    number places[i] of the queries is token i. query_stops, key_stops: int32 cumulated lengths with a leading 0.
    longest: of queries and of keys.
    """

    queries: Tensor
    keys: Tensor
    places: Tensor
    query_stops: Tensor
    key_stops: Tensor
    longest: tuple[int, int]

    @staticmethod
    def of(pairs: Sequence[tuple[Tensor, Tensor]]) -> Sequences:
        """From the token numbers of queries and keys of every sequence; those without queries are left out."""
        pairs = [(queries, keys) for queries, keys in pairs if len(queries)]
        stops = []
        for side in range(2):
            lengths = torch.tensor([0, *(len(pair[side]) for pair in pairs)])
            stops.append(lengths.cumsum(0).to(torch.int32).to(pairs[0][0].device))
        longest = tuple(max(len(pair[side]) for pair in pairs) for side in range(2))
        queries = torch.cat([queries for queries, _ in pairs])
        return Sequences(
            queries,
            torch.cat([keys for _, keys in pairs]),
            queries.argsort(),
            stops[0],
            stops[1],
            (longest[0], longest[1]),
        )


def take(x: Tensor, index: Tensor) -> Tensor:
    """The rows `index` of x (rows, C)."""
    if x.is_cuda:
        result: Tensor = _kernels("rows").take(x, index)
        return result
    return x[index]


def copy_where(x: Tensor, source: Tensor, mask: Tensor | None, first: int) -> None:
    """Copies some pictures of x (N, L, C) over others, in place, where the mask is set.

    Pictures from number `first` on are branches of len(source) items; item i of every branch becomes picture
    source[i] where mask[i] (L,) is set, everywhere without a mask. x may be a part of the channels of a tensor.
    """
    if x.is_cuda:
        _kernels("rows").copy_where(x, source, mask, first)
        return
    taken = x[source]
    for branch in x[first:].unflatten(0, (-1, len(source))):
        branch.copy_(taken if mask is None else torch.where(mask[..., None], taken, branch))


def join(h: Tensor, skip: Tensor, added: Tensor | None, index: Tensor | None) -> Tensor:
    """[h | skip + added] along the channels; of skip and added the pictures `index`, if given."""
    if h.is_cuda:
        result: Tensor = _kernels("rows").join(h, skip, added, index)
        return result
    if added is not None:
        skip = skip + added
    return torch.cat([h, skip if index is None else skip[index]], dim=-1)


def ragged_attention(qkv: Tensor, heads: int, sequences: Sequences) -> Tensor:
    """Attention within `sequences` of tokens. qkv: (tokens, 3 C) -> (tokens, C), of those that are queries."""
    channels = qkv.shape[-1] // 3
    query = take(qkv[:, :channels], sequences.queries).unflatten(-1, (heads, -1))
    key_value = take(qkv[:, channels:], sequences.keys)
    key, value = key_value.unflatten(-1, (2, heads, -1)).unbind(1)
    if qkv.is_cuda:
        from torch.nn.attention.varlen import varlen_attn

        attended: Any = varlen_attn(
            query, key, value, sequences.query_stops, sequences.key_stops, *sequences.longest
        )
    else:
        ends = [stops.tolist() for stops in (sequences.query_stops, sequences.key_stops)]
        attended = torch.cat(
            [
                functional.scaled_dot_product_attention(
                    *(x[a:b].transpose(0, 1) for x, (a, b) in ((query, q), (key, k), (value, k)))
                ).transpose(0, 1)
                for q, k in zip(pairwise(ends[0]), pairwise(ends[1]), strict=True)
            ]
        )
    return take(attended.flatten(-2), sequences.places)
