"""One network call of three branches: source, unconditional and conditional (3c and 4c of the method).

Pictures and clips alike: a row is an item, a picture or a clip, and rows lie branch by branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from i2v3d.diffusion.denoiser import Condition, Network, Prediction
from i2v3d.errors import ConfigError
from i2v3d.guidance.cross_frame import CrossFramePlan, extend_attention
from i2v3d.guidance.injection import FeatureCopy, InjectionPlan, inject

C = TypeVar("C", bound=Condition)


@dataclass(frozen=True)
class Branches(Generic[C]):
    """The conditions of the three branches, each with one row an item.

    unconditional: None where nobody reads that branch; its prediction then is the conditional one, as a guidance of
    1 makes it.
    """

    source: C
    unconditional: C | None
    conditional: C

    @property
    def without_unconditional(self) -> Branches[C]:
        """The same where nobody reads the unconditional branch."""
        return Branches(self.source, None, self.conditional)

    @property
    def guided(self) -> list[C]:
        """The conditions of the branches that are sampled."""
        return [b for b in (self.unconditional, self.conditional) if b is not None]

    def rows(self, index: Tensor) -> Branches[C]:
        """The conditions of some items."""
        unconditional = None if self.unconditional is None else self.unconditional.rows(index)
        return Branches(self.source.rows(index), unconditional, self.conditional.rows(index))


@dataclass(frozen=True)
class SharedBackground:
    """Extended attention of a call. attentions: layer names; foreground, windows: as in `CrossFramePlan`."""

    attentions: tuple[str, ...]
    with_source: CrossFramePlan
    without_source: CrossFramePlan


@dataclass(frozen=True)
class ExtendedAttention:
    """The attentions `names` of a network call see other items as `plan` says."""

    names: tuple[str, ...]
    plan: CrossFramePlan


@dataclass(frozen=True)
class Steering:
    """All that couples the rows of one call, which lie branch by branch.

    injection: what the first branch gives to the others; without copies there is no source among the branches.
    items: as in `BranchedNetwork`. deep: whether features of the deep levels are kept, or are again those that were
    kept by the last call with the same condition, injection and attention.
    """

    injection: InjectionPlan
    attention: ExtendedAttention | None
    items: tuple[int, ...]
    deep: Literal["unkept", "kept", "again"] = "unkept"


@runtime_checkable
class SteeredNetwork(Protocol):
    """A `Network` that steers itself, instead of hooks on its layers."""

    def steered(self, x: Tensor, level: float, condition: Any, steering: Steering) -> Tensor:
        """The predictions of all rows, or of all but the source's."""


@runtime_checkable
class DeepNetwork(SteeredNetwork, Protocol):
    """A `SteeredNetwork` that can take features of its deep levels from the call before."""

    @property
    def deep_levels(self) -> int:
        """The number of decoder blocks, the first ones, whose result is kept."""


class BranchedNetwork:
    """A network run on the branches of one group of items; the source branch is left out if nothing is copied."""

    def __init__(
        self,
        network: Network[Any],
        branches: Branches[Any],
        background: SharedBackground | None,
        max_batch: int,
        items: tuple[int, ...] = (),
        cache_interval: int = 1,
    ) -> None:
        """max_batch: pictures a call where no feature couples the rows of a call (0: all).

        items: a number for each item, the same for items that have the same latents and conditions; () is all
        different. A network that steers itself may compute them once. cache_interval: deep features are computed in
        one call of so many with the same injection. Raises ConfigError if it is not 1 and the network cannot do that.
        """
        if cache_interval > 1 and not isinstance(network, DeepNetwork):
            raise ConfigError(
                f"cache_interval is {cache_interval}, which only fast networks know; set runtime.perf=fast and, on a "
                "GPU, models.image.dtype=float16"
            )
        guided = branches.guided
        self._network, self._background, self._max_batch = network, background, max_batch
        self._items, self._interval = items, cache_interval
        self._age = 0  # calls since deep features were computed
        self._copied: list[tuple[str, int]] | None = None  # what those calls inject
        self._sampled = len(guided)
        self._with_source = guided[0].join([branches.source, *guided])
        self._without_source = guided[0].join(guided)

    def __call__(self, x: Tensor, source: Tensor, level: float, copies: Sequence[FeatureCopy]) -> Prediction:
        """The predictions for the items x, given the source latents of the same items and noise level.

        copies: the features that the other branches take over from the source.
        """
        sampled = [x] * self._sampled
        if copies:
            rows, condition = torch.cat([source, *sampled]), self._with_source
        else:
            rows, condition = torch.cat(sampled), self._without_source
        predicted = self._run(rows, level, condition, tuple(copies)).split(len(x))
        return Prediction(predicted[-self._sampled], predicted[-1])

    def _run(self, rows: Tensor, level: float, condition: Any, copies: tuple[FeatureCopy, ...]) -> Tensor:
        if not copies and self._background is None and self._interval == 1:
            return self._network.in_chunks(rows, level, condition, self._max_batch)
        sampled, background = self._sampled, self._background
        attention = None
        if background is not None:
            plan = background.with_source if copies else background.without_source
            attention = ExtendedAttention(background.attentions, plan)
        injection = InjectionPlan(copies, branches=1 + sampled if copies else sampled)
        steering = Steering(injection, attention, self._items, self._deep(copies))
        if isinstance(self._network, SteeredNetwork):
            return self._network.steered(rows, level, condition, steering)
        layers = self._network.layers
        with ExitStack() as steered:
            steered.enter_context(inject(layers, injection))
            if attention is not None:
                steered.enter_context(extend_attention(layers, attention.names, attention.plan))
            return self._network(rows, level, condition)

    def _deep(self, copies: tuple[FeatureCopy, ...]) -> Literal["unkept", "kept", "again"]:
        """What becomes of the deep features of this call."""
        if self._interval == 1:
            return "unkept"
        copied: list[tuple[str, int]] = [(copy.kind, id(copy.mask)) for copy in copies]
        self._age = (self._age + 1) % self._interval if copied == self._copied else 0
        self._copied = copied
        return "again" if self._age else "kept"


class SparseUnconditional:
    """The branches of one group of items, the unconditional one computed at every `every`-th step only.

    In between it is as far from the conditional one as when it was computed last; the first call computes it whenever
    that is. whole, without: the network with and without that branch; the latter is None if `every` is 1. Source of the
    idea: Lv et al., FasterCache, 2024, whose weights by frequency are left out.
    """

    def __init__(self, whole: BranchedNetwork, without: BranchedNetwork | None, every: int) -> None:
        assert every == 1 or without is not None, "steps without the branch need a network without it"
        self._whole, self._without, self._every = whole, without, every
        self._difference: Tensor | None = None

    def __call__(
        self, x: Tensor, source: Tensor, level: float, copies: Sequence[FeatureCopy], step: int
    ) -> Prediction:
        """As a `BranchedNetwork` at 0-based `step`."""
        if self._without is None:
            return self._whole(x, source, level, copies)
        if self._difference is None or step % self._every == 0:
            found = self._whole(x, source, level, copies)
            self._difference = found.conditional - found.unconditional
            return found
        conditional = self._without(x, source, level, copies).conditional
        return Prediction(conditional - self._difference, conditional)
