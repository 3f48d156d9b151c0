"""Transformers of diffusers' UNets on channels-last features, without copies of layout.

Each class holds the weights of one diffusers layer and computes what it computes. Queries, keys and values are one
matrix product, biases enter the next norm, and attention to a single token, whose softmax is 1, is the constant that
it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from i2v3d.models.fast import ops
from i2v3d.models.fast.signals import Context, Signals, Size, temporal_share


class SelfAttention:
    """An Attention layer over the tokens themselves: one product for queries, keys and values, one behind."""

    def __init__(self, layer: Any) -> None:
        parts = [layer.to_q, layer.to_k, layer.to_v]
        self.qkv = torch.cat([part.weight for part in parts]).detach()
        for part, weight in zip(parts, self.qkv.chunk(3), strict=True):
            assert part.bias is None, "queries, keys and values without biases"
            part.weight.data = weight  # the layer itself goes on with a view of the joined weights
        self.out, self.bias, self.heads = layer.to_out[0].weight, layer.to_out[0].bias, layer.heads


class FeedForward:
    """A gated feed-forward layer; its last bias is left to the caller."""

    def __init__(self, layer: Any) -> None:
        self._first, self._second = layer.net[0].proj, layer.net[2]
        self.bias = self._second.bias[None]

    def __call__(self, x: Tensor) -> Tensor:
        return functional.linear(ops.gated_linear(x, self._first), self._second.weight)


class CrossAttention:
    """An Attention layer that looks at the context."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    def constant(self, context: Context) -> Tensor:
        """What it adds everywhere if the context is one token, whose softmax is 1: (clips, C)."""
        layer = self._layer
        value = functional.linear(context.tokens[:, 0], layer.to_v.weight)
        return functional.linear(value, layer.to_out[0].weight, layer.to_out[0].bias)

    def keys_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(clips, tokens, D) -> keys and values, each (clips, heads, tokens, width)."""
        layer = self._layer
        return self._heads(tokens, layer.to_k), self._heads(tokens, layer.to_v)

    def _heads(self, tokens: Tensor, part: Any) -> Tensor:
        return functional.linear(tokens, part.weight).unflatten(-1, (self._layer.heads, -1)).transpose(1, 2)

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        """(N, L, C), without the bias of the last layer."""
        query = self._heads(x, self._layer.to_q)
        attended = functional.scaled_dot_product_attention(query, *context.keys_values(self))
        return functional.linear(attended.transpose(1, 2).flatten(-2), self._layer.to_out[0].weight)

    @property
    def bias(self) -> Tensor:
        bias: Tensor = self._layer.to_out[0].bias[None]
        return bias


class TransformerBlock:
    """A BasicTransformerBlock. Takes and returns the stream h and what is still to be added to it."""

    def __init__(self, block: Any, name: str) -> None:
        assert block.norm_type == "layer_norm" and not block.only_cross_attention, "an SDXL or SVD block"
        self._block, self._name = block, f"{name}.attn1"
        self._attention = SelfAttention(block.attn1)
        self._cross = CrossAttention(block.attn2)
        self._feed_forward = FeedForward(block.ff)

    def __call__(
        self, h: Tensor, pending: tuple[Tensor, Tensor] | None, size: Size, signals: Signals
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        delta, bias = pending or (None, None)
        h, x = ops.layer_norm(h, self._block.norm1, bias, delta)
        attention = self._attention
        x = signals.guide.attend(self._name, functional.linear(x, attention.qkv), attention.heads, size)
        delta, bias = functional.linear(x, attention.out), attention.bias[None]
        if signals.context.single:
            bias = bias + self._cross.constant(signals.context)
        else:
            h, x = ops.layer_norm(h, self._block.norm2, bias, delta)
            delta, bias = self._cross(x, signals.context), self._cross.bias
        h, x = ops.layer_norm(h, self._block.norm3, bias, delta)
        return h, (self._feed_forward(x), self._feed_forward.bias)


class TemporalBlock:
    """A TemporalBasicTransformerBlock: among the frames of a clip at each place, which stay where they lie."""

    def __init__(self, block: Any) -> None:
        assert block.is_res, "temporal blocks keep their width"
        self._block = block
        self._feed_in, self._feed_forward = FeedForward(block.ff_in), FeedForward(block.ff)
        self._attention = SelfAttention(block.attn1)
        self._cross = CrossAttention(block.attn2)

    def __call__(self, h: Tensor, position: Tensor, signals: Signals) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The stream that starts at h + position, and what is still to be added to it; h is kept."""
        attention = self._attention
        m, x = ops.layer_norm(h, self._block.norm_in, position, keep=True)
        m, x = ops.layer_norm(m, self._block.norm1, self._feed_in.bias, self._feed_in(x))
        x = ops.frames_attention(functional.linear(x, attention.qkv), signals.frames, attention.heads)
        bias = attention.bias + self._cross.constant(signals.context)
        m, x = ops.layer_norm(m, self._block.norm3, bias, functional.linear(x, attention.out))
        return m, (self._feed_forward(x), self._feed_forward.bias)


class Transformer:
    """A Transformer2DModel or, with temporal blocks, a TransformerSpatioTemporalModel."""

    def __init__(self, model: Any, name: str) -> None:
        self._model = model
        self._in, self._out = (layer.weight.flatten(1) for layer in (model.proj_in, model.proj_out))
        self._blocks = [
            TransformerBlock(block, f"{name}.transformer_blocks.{i}")
            for i, block in enumerate(model.transformer_blocks)
        ]
        temporal = getattr(model, "temporal_transformer_blocks", ())
        self._temporal = [TemporalBlock(block) for block in temporal]
        if temporal:
            self._share = temporal_share(model.time_mixer)
        self._one = torch.ones((), device=self._in.device)

    def __call__(self, x: Tensor, size: Size, signals: Signals) -> Tensor:
        model = self._model
        h = functional.linear(ops.group_norm(x, model.norm), self._in, model.proj_in.bias)
        pending = None
        if self._temporal:
            position = self._positions(signals.frames, h).repeat(len(h) // signals.frames, 1)
            for block, temporal in zip(self._blocks, self._temporal, strict=True):
                h, (delta, bias) = block(h, None, size, signals)
                h = ops.residual(h, delta, bias, self._one)
                m, (delta, bias) = temporal(h, position, signals)
                h = ops.blend(h, m, delta, bias[0], self._share)
        else:
            for block in self._blocks:
                h, pending = block(h, pending, size, signals)
            assert pending is not None, "a transformer has blocks"
            h = ops.residual(h, *pending, self._one)
        return ops.residual(x, functional.linear(h, self._out), model.proj_out.bias[None], self._one)

    def _positions(self, frames: int, like: Tensor) -> Tensor:
        """(F, C): the embedding of each frame's number."""
        numbers = self._model.time_proj(torch.arange(frames, device=like.device)).to(like.dtype)
        positions: Tensor = self._model.time_pos_embed(numbers)
        return positions
