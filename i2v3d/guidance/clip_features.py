"""Features of the source's clips, noted in one network call and injected in another.

So the branches of a step need not share a call, and what the inversion computed need not be computed again.
Shapes: F frames, L places, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from i2v3d.guidance.injection import FeatureCopy, InjectionPlan
from i2v3d.guidance.masks import LayerMask
from i2v3d.guidance.passes import ClipInjection
from i2v3d.models.fast import ops
from i2v3d.models.fast.signals import Size, Unguided


@dataclass(frozen=True)
class ClipFeatures:
    """Of one clip. queries_keys: layer -> (F, L, 2 C); blocks: block -> its output (F, L, C) and size."""

    queries_keys: dict[str, Tensor]
    blocks: dict[str, tuple[Tensor, Size]]

    @property
    def nbytes(self) -> int:
        """Memory that they take."""
        tensors = [*self.queries_keys.values(), *(features for features, _ in self.blocks.values())]
        return sum(tensor.nbytes for tensor in tensors)


class NotedFeatures(Unguided):
    """Notes what a plan copies, of all clips of a call."""

    def __init__(self, plan: InjectionPlan) -> None:
        self._attentions = {n for copy in plan.copies if copy.kind == "query_key" for n in copy.names}
        self._outputs = {n for copy in plan.copies if copy.kind == "output" for n in copy.names}
        self._queries_keys: dict[str, Tensor] = {}
        self._blocks: dict[str, tuple[Tensor, Size]] = {}

    def attend(self, name: str, qkv: Tensor, heads: int, size: Size) -> Tensor:
        if name in self._attentions:
            self._queries_keys[name] = qkv[..., : qkv.shape[-1] // 3 * 2].clone()
        return ops.self_attention(qkv, heads)

    def block(self, name: str, h: Tensor, size: Size) -> None:
        if name in self._outputs:
            self._blocks[name] = h.clone(), size  # layers behind it may compute in its place

    def clips(self, count: int) -> list[ClipFeatures]:
        """Those of each of the call's `count` clips."""
        split = {name: value.chunk(count) for name, value in self._queries_keys.items()}
        blocks = {name: (value.chunk(count), size) for name, (value, size) in self._blocks.items()}
        return [
            ClipFeatures(
                {name: parts[i] for name, parts in split.items()},
                {name: (parts[i], size) for name, (parts, size) in blocks.items()},
            )
            for i in range(count)
        ]


class InjectedAttention(Unguided):
    """Puts queries and keys of source clips into those of the call's clips, where a plan's masks are set.

    clips: the source's features for each clip of the call. items: the number of that source clip in the masks.
    """

    def __init__(self, plan: InjectionPlan, clips: Sequence[ClipFeatures], items: Sequence[int]) -> None:
        self._masks: dict[str, LayerMask | None] = {
            name: copy.mask for copy in plan.copies if copy.kind == "query_key" for name in copy.names
        }
        self._clips, self._items = clips, items

    def attend(self, name: str, qkv: Tensor, heads: int, size: Size) -> Tensor:
        if name in self._masks:
            mask = self._masks[name]
            query_key = qkv[..., : qkv.shape[-1] // 3 * 2]
            parts = zip(query_key.chunk(len(self._clips)), self._clips, self._items, strict=True)
            for own, clip, item in parts:
                source = clip.queries_keys[name]
                if mask is None:
                    own.copy_(source)
                else:
                    frames = mask.tokens(*size).unflatten(0, (-1, len(own)))[item]
                    own.copy_(torch.where(frames[..., None], source, own))
        return ops.self_attention(qkv, heads)


def copied_of_clips(injection: ClipInjection) -> InjectionPlan:
    """All that an injection, with the names of layers, copies at any step."""
    copies = (
        FeatureCopy("query_key", injection.attention, None),
        FeatureCopy("output", injection.block, None),
    )
    return InjectionPlan(copies, branches=0)


class SourceMemory:
    """Features that the inversion computed, for the steps of the sampling whose source is the same.

    plan: what is copied; its masks do not matter. room: bytes that may be kept; steps without kept features compute
    their source.
    """

    def __init__(self, plan: InjectionPlan, room: float) -> None:
        self.plan = plan
        self._room = room
        self._largest = 0
        self._kept: dict[float, tuple[Tensor, list[ClipFeatures]]] = {}

    def close(self) -> None:
        """Keeps nothing from now on."""
        self._room = 0

    @property
    def has_room(self) -> bool:
        """Whether as much as the last time still fits."""
        return self._room > self._largest

    def keep(self, level: float, x: Tensor, clips: list[ClipFeatures]) -> None:
        """Keeps the features of a call: its noise level, its latents (clips, F, C, h, w), what was noted."""
        self._largest = sum(clip.nbytes for clip in clips)
        self._room -= self._largest
        self._kept[level] = x, clips

    def take(self, level: float, x: Tensor) -> list[ClipFeatures] | None:
        """The features of the clips x at that level, if exactly these are kept; they are forgotten."""
        if level not in self._kept:
            return None
        known, clips = self._kept[level]
        if known.shape != x.shape or not torch.equal(known, x):
            return None
        del self._kept[level]
        return clips
