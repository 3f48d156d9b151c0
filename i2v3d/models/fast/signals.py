"""What the layers of a fast network call are told besides features.

Features are channels-last, (N pictures, L = h * w places, C channels), throughout.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from i2v3d.models.fast import ops

if TYPE_CHECKING:
    from i2v3d.models.fast.transformers import CrossAttention

Size = tuple[int, int]


class Guide(Protocol):
    """Takes part in a network call: self-attention of named layers, and outputs of named convolutions."""

    def attend(self, name: str, qkv: Tensor, heads: int, size: Size) -> Tensor:
        """Self-attention of the layer `name`; qkv: (N, L, 3 C) -> (N, L, C)."""

    def features(self, name: str, h: Tensor, size: Size) -> Tensor:
        """What goes on instead of the output h (N, L, C) of the convolution `name`, which lacks its bias."""

    def block(self, name: str, h: Tensor, size: Size) -> None:
        """Sees the output h (N, L, C) of the decoder's residual block `name`."""


class Unguided:
    """Leaves everything as the network computes it."""

    def attend(self, name: str, qkv: Tensor, heads: int, size: Size) -> Tensor:
        return ops.self_attention(qkv, heads)

    def features(self, name: str, h: Tensor, size: Size) -> Tensor:
        return h

    def block(self, name: str, h: Tensor, size: Size) -> None:
        """Nothing is done."""


class Context:
    """What cross-attention looks at, (clips, tokens, D), and each layer's keys and values of it once asked for.

    Keep the object as long as the context stays the same: then a step costs no projection of it.
    """

    def __init__(self, tokens: Tensor) -> None:
        self.tokens = tokens
        self._kept: dict[CrossAttention, tuple[Tensor, Tensor]] = {}

    @property
    def single(self) -> bool:
        """Whether it is one token, the attention to which is a constant."""
        return self.tokens.shape[1] == 1

    def clips(self, wanted: slice | Tensor) -> Context:
        """That of some clips."""
        return Context(self.tokens[wanted])

    def keys_values(self, layer: CrossAttention) -> tuple[Tensor, Tensor]:
        """Of one layer, each (clips, heads, tokens, width)."""
        if layer not in self._kept:
            self._kept[layer] = layer.keys_values(self.tokens)
        return self._kept[layer]


@dataclass(frozen=True)
class Signals:
    """What the layers of one call are told besides features.

    frames: neighbouring pictures that are one clip, 1 for single pictures. shifts: (clips, sum of widths), the time
    embedding as every residual block adds it.
    """

    frames: int
    shifts: Tensor
    context: Context
    guide: Guide

    def clips(self, wanted: slice) -> Signals:
        """The same for some of the clips."""
        return replace(self, shifts=self.shifts[wanted], context=self.context.clips(wanted))


class TimeShifts:
    """The time projections of all residual blocks of a network as one matrix product."""

    def __init__(self) -> None:
        self._layers: list[Any] = []
        self._biases: list[Tensor] = []
        self.weight = self.bias = torch.empty(0)
        self._width = 0

    def add(self, layer: Any, bias: Tensor) -> slice:
        """Where in the product the projection `layer` plus `bias` will be."""
        self._layers.append(layer)
        self._biases.append(bias)
        start, self._width = self._width, self._width + layer.out_features
        return slice(start, self._width)

    def seal(self) -> None:
        """To be called once all layers are known."""
        self.weight = torch.cat([layer.weight for layer in self._layers]).detach()
        pairs = zip(self._layers, self._biases, strict=True)
        self.bias = torch.cat([layer.bias + bias for layer, bias in pairs]).detach()

    def __call__(self, embedding: Tensor) -> Tensor:
        """(clips, T) -> (clips, sum of widths)."""
        return functional.linear(functional.silu(embedding), self.weight, self.bias)


def temporal_share(mixer: Any) -> Tensor:
    """The weight () of the temporal branch of an AlphaBlender where all pictures are frames of a clip."""
    assert mixer.merge_strategy in ("learned", "learned_with_images"), "a learned mixer, as SVD has"
    share = torch.sigmoid(mixer.mix_factor.detach().float().squeeze())
    return share if mixer.switch_spatial_to_temporal_mix else 1 - share
