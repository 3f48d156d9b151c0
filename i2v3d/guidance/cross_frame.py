"""Extended attention: the frames of a window share their background, exactly and without dense masks.

A query at token i of frame f sees the key at token j of frame g if f == g, or if i and j are both background.
So a foreground query sees its own frame only, and all background queries of a window see one and the same
set, the background of all frames, plus the foreground of their own frame. The shared keys and values are
therefore gathered once a layer, and each frame needs two attention calls without any mask:

    foreground queries of f  x  all tokens of f
    background queries of f  x  [background of all frames | foreground of f]

Source: I2V3D, extended attention (3e of the method).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from i2v3d.errors import ShapeError
from i2v3d.guidance.injection import Size, SpatialSizes, submodule
from i2v3d.guidance.masks import LayerMask


@dataclass(frozen=True)
class WindowTokens:
    """Token numbers of one window at one layer size.

    start, stop: the window's items. shared: background tokens of all its frames, numbered frame * L + token.
    background, foreground: for every frame the numbers of its tokens of each kind, together all of them.
    """

    start: int
    stop: int
    shared: torch.Tensor
    background: tuple[torch.Tensor, ...]
    foreground: tuple[torch.Tensor, ...]


class CrossFramePlan:
    """Which items attend to each other in a network call of `branches` x items rows, branch by branch.

    The first `plain` branches (the source) keep plain self-attention. foreground: one map per item. windows:
    sizes of the groups of consecutive items that share their background. Raises ShapeError if they do not
    add up to the items. Token numbers are computed once a layer size (this reads the masks on the host) and
    kept: pass the same plan at every step.
    """

    def __init__(self, foreground: LayerMask, windows: Sequence[int], branches: int, plain: int) -> None:
        if sum(windows) != len(foreground) or min(windows, default=0) < 1:
            raise ShapeError(f"windows of {list(windows)} frames do not add up to {len(foreground)} items")
        self.foreground, self.windows = foreground, tuple(windows)
        self.branches, self.plain = branches, plain
        self._tokens: dict[Size, tuple[WindowTokens, ...]] = {}

    def tokens(self, size: Size) -> tuple[WindowTokens, ...]:
        """The token numbers of every window at the layer size (h', w')."""
        if size not in self._tokens:
            device = self.foreground.full.device
            masks = self.foreground.tokens(*size).cpu()
            stops = torch.tensor(self.windows).cumsum(0).tolist()
            self._tokens[size] = tuple(
                _window_tokens(masks[stop - count : stop], stop - count, device)
                for count, stop in zip(self.windows, stops, strict=True)
            )
        return self._tokens[size]


def _window_tokens(foreground: torch.Tensor, start: int, device: torch.device) -> WindowTokens:
    """Token numbers of one window from its masks (frames, L) on the CPU."""

    def numbers(mask: torch.Tensor) -> torch.Tensor:
        return mask.nonzero()[:, 0].to(device)

    return WindowTokens(
        start=start,
        stop=start + foreground.shape[0],
        shared=numbers(~foreground.flatten()),
        background=tuple(numbers(~frame) for frame in foreground),
        foreground=tuple(numbers(frame) for frame in foreground),
    )


@contextmanager
def extend_attention(network: nn.Module, names: Sequence[str], plan: CrossFramePlan) -> Iterator[None]:
    """Gives the attentions `names` of `network` the extended attention of `plan`, until exit.

    Restores the processors on exit, also after an error: outputs are bit-identical before and after. Queries
    and keys that hooks on `to_q` and `to_k` change (feature injection) enter changed. Raises LayerError for
    unknown names, and during the call ShapeError if rows and plan do not fit.
    """
    with ExitStack() as restore:
        sizes = SpatialSizes(network, restore)
        for name in names:
            attention = submodule(network, name)
            restore.callback(setattr, attention, "processor", attention.processor)
            attention.processor = CrossFrameAttention(plan, sizes.around(name))
        yield


class CrossFrameAttention:
    """An attention processor of diffusers for self-attention: plain in the source branch, extended elsewhere.

    size: gives the (h', w') that the layer is working at.
    """

    def __init__(self, plan: CrossFramePlan, size: Callable[[], Size]) -> None:
        self._plan, self._size = plan, size

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """hidden_states: (rows, L, channels); the other arguments are of the interface and must be None."""
        assert encoder_hidden_states is None and attention_mask is None, (
            "extended attention is self-attention"
        )
        rows = hidden_states.shape[0]
        branches, plain, items = self._plan.branches, self._plan.plain, len(self._plan.foreground)
        if rows != branches * items:
            raise ShapeError(f"extended attention sees {rows} rows; expected {branches} branches of {items}")
        heads = [
            project(hidden_states).unflatten(-1, (attn.heads, -1)).unflatten(0, (branches, items))
            for project in (attn.to_q, attn.to_k, attn.to_v)
        ]
        out = torch.empty_like(heads[0])
        if plain:
            out[:plain] = _attend(*(x[:plain].flatten(0, 1) for x in heads)).unflatten(0, (plain, items))
        query, key, value = (x[plain:] for x in heads)
        for window in self._plan.tokens(self._size()):
            frames = slice(window.start, window.stop)
            out[plain:, frames] = windowed_attention(
                query[:, frames], key[:, frames], value[:, frames], window
            )
        return attn.to_out[1](attn.to_out[0](out.flatten(-2).flatten(0, 1)))


def windowed_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: WindowTokens
) -> torch.Tensor:
    """Extended attention of one window; arguments and result: (branches, frames, L, heads, width)."""
    out = torch.empty_like(query)
    shared_key = key.flatten(1, 2).index_select(1, window.shared)
    shared_value = value.flatten(1, 2).index_select(1, window.shared)
    for frame, (background, foreground) in enumerate(zip(window.background, window.foreground, strict=True)):
        q, k, v = query[:, frame], key[:, frame], value[:, frame]
        if len(foreground):
            attended = _attend(q.index_select(1, foreground), k, v)
            out[:, frame].index_copy_(1, foreground, attended)
        if len(background):
            keys = torch.cat([shared_key, k.index_select(1, foreground)], dim=1)
            values = torch.cat([shared_value, v.index_select(1, foreground)], dim=1)
            attended = _attend(q.index_select(1, background), keys, values)
            out[:, frame].index_copy_(1, background, attended)
    return out


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Scaled dot-product attention of (rows, tokens, heads, width), without a mask."""
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2)
