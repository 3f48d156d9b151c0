"""The image network run fast: injection and extended attention as tensor operations, every phase a CUDA graph.

An item that occurs twice in a call (a frame of two windows) is one row of the encoder, of the ControlNet and of the
source branch, since nothing tells its rows apart before the frames of a window attend to each other; the decoder's
other branches have both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from i2v3d.guidance.branches import ExtendedAttention, Steering
from i2v3d.guidance.cross_frame import CrossFramePlan
from i2v3d.guidance.injection import InjectionPlan
from i2v3d.guidance.masks import LayerMask
from i2v3d.models.fast import ops, usable
from i2v3d.models.fast.graph import Graphed, shared_pool
from i2v3d.models.fast.image import Branching, Deep, DeepFeatures, FastImageNetwork, Prepared
from i2v3d.models.fast.signals import Size
from i2v3d.models.sdxl import ImageCondition, ImageDenoiser, ImageModels, on_device

Call = Callable[[Tensor, Tensor], Tensor]
"""(rows, timestep) -> predictions."""


def image_denoiser(models: ImageModels, control_scale: float, *, fast: bool) -> ImageDenoiser:
    """The network of `models`, run fast if asked and possible. control_scale: that of all conditions."""
    if not (fast and usable(models.device, models.dtype)):
        models.unet.to(models.device)
        models.controlnet.to(models.device)
        return ImageDenoiser.of(models)
    controlnet = models.controlnet if control_scale else None
    network = FastImageNetwork(models.unet, controlnet, control_scale)
    if models.memory.streamed:
        network.stream_weights(models.device)
    return FastImageDenoiser(
        models.unet, models.controlnet, models.dtype, network, recorded=models.memory.graphs
    )


@dataclass(frozen=True)
class FastImageDenoiser(ImageDenoiser):
    """An `ImageDenoiser` that computes the same faster, a `SteeredNetwork`.

    On a GPU a call is recorded, if asked, the first time that it is made with a condition (the object), and replayed
    from then on. See `FastImageNetwork` for what it does to the networks.
    """

    network: FastImageNetwork
    recorded: bool = True
    _recorded: dict[tuple[object, ...], tuple[object, Call]] = field(default_factory=dict)
    _parts: dict[tuple[int, int], tuple[object, list[ImageCondition]]] = field(default_factory=dict)
    _pool: list[object] = field(default_factory=list)
    _deep: dict[tuple[object, ...], DeepFeatures] = field(default_factory=dict)

    @property
    def deep_levels(self) -> int:
        """All up blocks but the last."""
        return self.network.up_blocks - 1

    def __call__(self, x: Tensor, level: float | Tensor, condition: ImageCondition) -> Tensor:
        key = (id(condition),)
        if key not in self._recorded:
            network, prepared = self.network, self._prepared(condition)
            self._keep(key, condition, self._call(lambda x, time: network(x, time, prepared), x))
        return self._recorded[key][1](x, on_device(level, x))

    def in_chunks(self, x: Tensor, level: float, condition: ImageCondition, max_batch: int) -> Tensor:
        size = max_batch or len(x)
        if size >= len(x):
            return self(x, level, condition)
        key = (id(condition), size)
        if key not in self._parts:
            starts = range(0, len(x), size)
            self._parts[key] = condition, [condition.rows(slice(i, i + size)) for i in starts]
        parts = zip(x.split(size), self._parts[key][1], strict=True)
        return torch.cat([self(rows, level, part) for rows, part in parts])

    def steered(self, x: Tensor, level: float, condition: ImageCondition, steering: Steering) -> Tensor:
        """The noise in all rows but the source's."""
        plan = steering.attention.plan if steering.attention else None
        copies = ((copy.kind, id(copy.mask)) for copy in steering.injection.copies)
        same = (id(condition), id(plan), *copies)
        key = (*same, steering.deep)
        if key not in self._recorded:
            rows = Rows.of_call(steering, len(x), x.device)
            deep = None
            if steering.deep != "unkept":
                deep = Deep(self._deep.setdefault(same, DeepFeatures()), taken=steering.deep == "again")
            call = self._call(self._steered_call(condition, steering, rows, deep), x)
            self._keep(key, (condition, steering), lambda x, time: call(x[rows.encoder], time))
        return self._recorded[key][1](x, on_device(level, x))

    def _steered_call(
        self, condition: ImageCondition, steering: Steering, rows: Rows, deep: Deep | None
    ) -> Call:
        """(rows of the encoder, timestep) -> predictions."""
        prepared = self._prepared(condition.rows(rows.encoder))
        levels = [int(name.split(".")[1]) for copy in steering.injection.copies for name in copy.names]
        context = prepared.contexts[0].clips(rows.decoder)
        branching = Branching(rows.decoder, context, rows.source, max(levels, default=0))
        guide = SteeredLayers(steering.injection, steering.attention, rows)
        network = self.network  # and not self, which keeps the call: weights shall go with their last user
        return lambda x, time: network(x, time, prepared, guide, branching, deep)

    def _prepared(self, condition: ImageCondition) -> Prepared:
        return self.network.prepare(condition.text, condition.pooled, condition.time_ids, condition.control)

    def _keep(self, key: tuple[object, ...], owners: object, call: Call) -> None:
        self._recorded[key] = owners, call  # owners live as long as their ids are keys

    def _call(self, function: Call, x: Tensor) -> Call:
        return Graphed(function, self._memory(x)) if self.recorded else function

    def _memory(self, x: Tensor) -> object:
        """One pool for all graphs: they never run at the same time."""
        if not self._pool:
            self._pool.append(shared_pool(x.device))
        return self._pool[0]


@dataclass(frozen=True)
class Rows:
    """How the rows of a steered call go through the network.

    encoder: rows of the call that are computed there, each item of each branch once. decoder: the encoder's row for
    every row of the decoder: the source's items once, then all rows of the other branches. source: number of the
    first. of: the source's row for each item of another branch. branches: others than the source.
    """

    encoder: Tensor
    decoder: Tensor
    source: int
    of: Tensor
    branches: int

    @staticmethod
    def of_items(items: tuple[int, ...], branches: int, with_source: bool, device: torch.device) -> Rows:
        """items: equal numbers are the same item. branches: all of them."""
        unique = sorted(set(items))
        first = torch.tensor([items.index(item) for item in unique], device=device)
        of = torch.tensor([unique.index(item) for item in items], device=device)
        encoder = torch.cat([first + len(items) * branch for branch in range(branches)])
        source = len(unique) if with_source else 0
        guided = range(1 if with_source else 0, branches)
        decoder = torch.cat(
            [torch.arange(source, device=device), *(of + len(unique) * branch for branch in guided)]
        )
        return Rows(encoder, decoder, source, of, len(guided))

    @staticmethod
    def of_call(steering: Steering, rows: int, device: torch.device) -> Rows:
        """Of a call of so many rows."""
        branches = steering.injection.branches
        items = steering.items or tuple(range(rows // branches))
        return Rows.of_items(items, branches, bool(steering.injection.copies), device)


class SteeredLayers:
    """A `Guide`: copies the source's features, then lets items see what extended attention lets them see."""

    def __init__(self, injection: InjectionPlan, attention: ExtendedAttention | None, rows: Rows) -> None:
        self._rows = rows
        self._extended = frozenset(attention.names) if attention else frozenset[str]()
        self._plan: CrossFramePlan | None = attention.plan if attention else None
        self._masks = {(copy.kind, name): copy.mask for copy in injection.copies for name in copy.names}
        self._sequences: dict[Size, ops.Sequences] = {}

    def attend(self, name: str, qkv: Tensor, heads: int, size: Size) -> Tensor:
        source = self._rows.source
        if ("query_key", name) in self._masks:
            part = qkv[..., : qkv.shape[-1] // 3 * 2]
            self._copy(part, self._masks["query_key", name], size)
        if name not in self._extended:
            return ops.self_attention(qkv, heads)
        guided = qkv[source:]
        tokens = ops.ragged_attention(guided.flatten(0, 1), heads, self._sequences_at(size))
        attended = tokens.unflatten(0, guided.shape[:2])
        return torch.cat([ops.self_attention(qkv[:source], heads), attended]) if source else attended

    def features(self, name: str, h: Tensor, size: Size) -> Tensor:
        if ("output", name) in self._masks:
            self._copy(h, self._masks["output", name], size)
        return h

    def block(self, name: str, h: Tensor, size: Size) -> None:
        """Nothing is done."""

    def _copy(self, features: Tensor, mask: LayerMask | None, size: Size) -> None:
        """Copies the source's features (N, L, C) over those of the other branches where the mask is set, in place."""
        chosen = None if mask is None else mask.tokens(*size)
        ops.copy_where(features, self._rows.of, chosen, self._rows.source)

    def _sequences_at(self, size: Size) -> ops.Sequences:
        """Who attends to whom among the tokens of the branches behind the source, at one layer size."""
        if size not in self._sequences:
            assert self._plan is not None
            places, items = size[0] * size[1], len(self._rows.of)
            starts = [items * branch * places for branch in range(self._rows.branches)]
            self._sequences[size] = ops.Sequences.of(
                [pair for start in starts for pair in _window_pairs(self._plan, size, start)]
            )
        return self._sequences[size]


def _window_pairs(plan: CrossFramePlan, size: Size, start: int) -> list[tuple[Tensor, Tensor]]:
    """Token numbers of queries and of what they see, for each frame's foreground and background.

    start: the number of a branch's first token.
    """
    places, pairs = size[0] * size[1], []
    for window in plan.tokens(size):
        first = start + window.start * places
        for frame, (background, foreground) in enumerate(
            zip(window.background, window.foreground, strict=True)
        ):
            own = first + frame * places
            everything = torch.arange(own, own + places, device=background.device)
            shared = torch.cat([window.shared + first, foreground + own])
            pairs += [(foreground + own, everything), (background + own, shared)]
    return pairs
