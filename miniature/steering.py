"""The image network as the method runs it, for many shots at once: features of the coarse renders enter, and the frames
of a shot share their background.

What hooks and plans of `i2v3d.guidance` do to one shot, with masks in place of token numbers, so that a training step
can be captured as a CUDA graph. A test holds both to the same numbers. Shapes: B shots of K keyframes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from i2v3d.guidance.injection import resolve_layers, submodule
from i2v3d.guidance.masks import nearest_resize

ATTENTION = ("up_blocks.[01].attentions.*.transformer_blocks.*.attn1",)
CONV = ("up_blocks.[012].resnets.*.conv2",)


@dataclass
class Steered:
    """What couples the rows of one call, which are [the sources of B * K keyframes | others | the keyframes].

    foreground: (B, K, H, W) bool. attention, everywhere: (B,) bool, whether queries and keys of the source are
    injected, and not only on the object; conv: (B,) bool, whether the object's convolutions are; shared: (B,) bool,
    whether the frames of a shot share their background; whole: (B,) bool, whether they then share everything.
    """

    foreground: Tensor
    attention: Tensor
    everywhere: Tensor
    conv: Tensor
    shared: Tensor
    whole: Tensor

    def __post_init__(self) -> None:
        height, width = self.foreground.shape[-2:]
        self.maps: dict[int, Tensor] = {}
        for factor in (8, 16, 32):
            size = height // factor, width // factor
            small = nearest_resize(self.foreground.flatten(0, 1), *size)
            self.maps[size[0] * size[1]] = small.unflatten(0, self.foreground.shape[:2])

    @property
    def items(self) -> int:
        """B * K."""
        return self.foreground.shape[0] * self.foreground.shape[1]

    def injected(self, tokens: int) -> Tensor:
        """Where queries and keys are the source's, (B * K, tokens, 1)."""
        inside = self.maps[tokens].flatten(2) | self.everywhere.view(-1, 1, 1)
        return (inside & self.attention.view(-1, 1, 1)).flatten(0, 1)[..., None]

    def convolved(self, pixels: int) -> Tensor:
        """Where outputs of convolutions are the source's, (B * K, 1, h, w)."""
        return (self.maps[pixels] & self.conv.view(-1, 1, 1, 1)).flatten(0, 1)[:, None]

    def seen(self, tokens: int) -> Tensor:
        """Which token of a shot sees which, (B, 1, K * tokens, K * tokens)."""
        background = ~self.maps[tokens].flatten(1)
        frame = torch.arange(self.foreground.shape[1], device=background.device).repeat_interleave(tokens)
        both = background[:, :, None] & background[:, None, :] | self.whole.view(-1, 1, 1)
        return (both & self.shared.view(-1, 1, 1) | (frame[:, None] == frame))[:, None]


class Steering:
    """Steers the calls of a network inside `with`; `now` says how, None leaves it alone."""

    def __init__(
        self, network: nn.Module, attention: Sequence[str] = ATTENTION, conv: Sequence[str] = CONV
    ) -> None:
        self.now: Steered | None = None
        self._network, self._stack = network, ExitStack()
        self._attention, self._conv = resolve_layers(network, attention), resolve_layers(network, conv)

    def __enter__(self) -> Steering:
        for name in self._attention:
            layer = submodule(self._network, name)
            self._stack.callback(setattr, layer, "processor", layer.processor)
            layer.processor = _SharedAttention(self, layer.processor)
        for name in self._conv:
            handle = submodule(self._network, name).register_forward_hook(self._copy)
            self._stack.callback(handle.remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _copy(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        """The output with the object's features of the sources in the keyframes' rows."""
        if self.now is None:
            return output
        own = self.now.items
        mask = self.now.convolved(output.shape[-2] * output.shape[-1])
        return torch.cat([output[:-own], torch.where(mask, output[:own], output[-own:])])


class _SharedAttention:
    """An attention processor of diffusers for self-attention. plain: that of calls that are not steered."""

    def __init__(self, steering: Steering, plain: Any) -> None:
        self._steering, self._plain = steering, plain

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """hidden_states: (rows, tokens, channels)."""
        now = self._steering.now
        if now is None:
            out: Tensor = self._plain(attn, hidden_states)
            return out
        own, (shots, frames) = now.items, now.foreground.shape[:2]
        tokens = hidden_states.shape[1]
        query, key, value = (project(hidden_states) for project in (attn.to_q, attn.to_k, attn.to_v))
        mask = now.injected(tokens)

        def heads(features: Tensor) -> Tensor:
            """(..., tokens, channels) to (..., heads, tokens, width)."""
            return features.unflatten(-1, (attn.heads, -1)).transpose(-3, -2)

        def together(features: Tensor, source: Tensor | None) -> Tensor:
            mixed = features if source is None else torch.where(mask, source, features)
            return heads(mixed.unflatten(0, (shots, frames)).flatten(1, 2))

        alone = F.scaled_dot_product_attention(heads(query[:-own]), heads(key[:-own]), heads(value[:-own]))
        shared = F.scaled_dot_product_attention(
            together(query[-own:], query[:own]),
            together(key[-own:], key[:own]),
            together(value[-own:], None),
            attn_mask=now.seen(tokens),
        )
        shared = shared.transpose(1, 2).flatten(2).unflatten(1, (frames, tokens)).flatten(0, 1)
        both = torch.cat([alone.transpose(1, 2).flatten(2), shared])
        result: Tensor = attn.to_out[1](attn.to_out[0](both))
        return result
