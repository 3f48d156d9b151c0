"""Data parallel training under `accelerate launch`: every process draws its own pictures, gradients are averaged.

The networks are too small for gradients to be worth sending in pieces while others are computed, so one flat
buffer a step is enough, and works with gradients that a CUDA graph fills.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from i2v3d.errors import ConfigError


class Processes(NamedTuple):
    """Which process this is, of how many (size); by itself unless `join` found others."""

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls) -> Processes:
        """Joins the processes that a launcher started; without a launcher there is only this one.

        Raises ConfigError if a launcher started several and accelerate is not installed.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        try:
            from accelerate import PartialState
        except ImportError as error:
            raise ConfigError(
                "several processes were launched (WORLD_SIZE) but accelerate is not installed; install it, "
                "or start one process"
            ) from error
        state = PartialState(cpu=not torch.cuda.is_available())
        return cls(state.process_index, state.num_processes)

    @property
    def device(self) -> str:
        """The device of this process, as torch names it."""
        if self.size > 1:
            from accelerate import PartialState

            return str(PartialState().device)
        return "cuda" if torch.cuda.is_available() else "cpu"

    def stream(self, stream: int) -> int:
        """The data stream of this process, apart from those of the others and of runs that follow."""
        return stream + 10_000 * self.rank

    @torch.no_grad()
    def align(self, parameters: Sequence[nn.Parameter]) -> None:
        """Gives every process the first one's values."""
        if self.size == 1:
            return
        from accelerate.utils import broadcast

        for parameter in parameters:
            parameter.copy_(broadcast(parameter.detach().clone()))

    @torch.no_grad()
    def average(self, parameters: Sequence[nn.Parameter], *others: float) -> list[float]:
        """Replaces gradients by their mean over processes and returns the mean of each other number."""
        if self.size == 1:
            return list(others)
        from accelerate.utils import reduce

        filled = [parameter.grad for parameter in parameters if parameter.grad is not None]
        extra = torch.tensor(others, device=filled[0].device, dtype=torch.float32)
        flat = reduce(torch.cat([*(grad.float().flatten() for grad in filled), extra]), reduction="mean")
        pieces = flat.split([*(grad.numel() for grad in filled), len(others)])
        for grad, piece in zip(filled, pieces[:-1], strict=True):
            grad.copy_(piece.view_as(grad))
        means: list[float] = pieces[-1].tolist()
        return means

    def gather(self, item: Any) -> list[Any]:
        """One item of every process, first process first."""
        if self.size == 1:
            return [item]
        from accelerate.utils import gather_object

        items: list[Any] = gather_object([item])
        return items

    def wait(self) -> None:
        """Returns when every process got here."""
        if self.size > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()
