"""The contract between samplers and networks, the same for pictures and clips.

A network predicts what its sampler steps along: DDIM's the noise, EDM's the clean latents. All that lies between the
two (guidance, windows, fusion of two passes) is linear in the predictions, so it need not know which. A backbone is
one module with a `Network`; a faster way to run it (compiled, captured) is another `Network` around the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Prediction:
    """What is predicted behind some latents without and with the condition: float32, both of the latents' shape."""

    unconditional: Tensor
    conditional: Tensor


class Denoiser(Protocol):
    """Predicts behind the latents x, float32.

    level: of their noise, as the network is told it, DDIM's timestep or EDM's sigma. step: counts the sampler's
    steps from 0; it says which features are injected.
    """

    def __call__(self, x: Tensor, level: float, step: int) -> Prediction: ...


class Predict(Protocol):
    """The one prediction that a sampler steps along: a guided one, or a network's own in an inversion."""

    def __call__(self, x: Tensor, level: float, step: int) -> Tensor: ...


class Condition(Protocol):
    """What a network knows besides latents and noise level, row by row."""

    def rows(self, index: Tensor | slice) -> Any:
        """The condition of some rows."""

    @staticmethod
    def join(parts: Sequence[Any]) -> Any:
        """The rows of several conditions of one kind, one after the other."""


C_contra = TypeVar("C_contra", bound=Condition, contravariant=True)


class Network(Protocol[C_contra]):
    """A backbone as guidance sees it. A row of x is a picture (C, h, w), or a clip (F, C, h, w) that stays whole."""

    @property
    def layers(self) -> nn.Module:
        """The module whose layers are injected by name."""

    def __call__(self, x: Tensor, level: float, condition: C_contra) -> Tensor:
        """The predictions of all rows of x in one call, float32 in and out."""

    def in_chunks(self, x: Tensor, level: float, condition: C_contra, max_batch: int) -> Tensor:
        """The same at most `max_batch` pictures a call (0: all), for rows that do not depend on each other.

        A row is the least that goes in one call.
        """


@dataclass(frozen=True)
class BothBranches:
    """The `Denoiser` of a network without any 3D guidance: both branches of all rows, in one batch.

    conditions: the unconditional rows, then the conditional ones. max_batch: pictures a call, see `Network`.
    """

    network: Network[Any]
    conditions: Condition
    max_batch: int

    def __call__(self, x: Tensor, level: float, step: int) -> Prediction:
        rows = torch.cat([x, x])
        return Prediction(*self.network.in_chunks(rows, level, self.conditions, self.max_batch).chunk(2))
