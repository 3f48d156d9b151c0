"""What a stage's loop over steps costs, step by step: times between device events, and operations counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from i2v3d.progress import OnStep
from i2v3d.stages.context import StageContext


@dataclass
class Loop:
    """A loop over steps that has ended. wall_s: of all of it; step_ms: of every step behind the first, as many as were
    told of together each with the same share; operations: of the first step's matrix products, convolutions and
    attention, 0 if they were not counted."""

    wall_s: float
    step_ms: list[float]
    operations: int


@dataclass(frozen=True)
class TimedContext(StageContext):
    """A context that notes in `loops` what every loop over steps took. counted: what its first step computes, too,
    which makes that step slower."""

    loops: list[Loop] = field(default_factory=list)
    counted: bool = False

    @contextmanager
    def bar(self, desc: str, unit: str = "step") -> Iterator[OnStep]:  # type: ignore[override]
        on_gpu = self.device.startswith("cuda")
        begin, marks = time.monotonic(), list[tuple[int, Any]]()
        with super().bar(desc, unit) as bar, ExitStack() as counting:
            counter = counting.enter_context(FlopCounterMode(display=False)) if self.counted else None

            def noted(done: int, total: int) -> None:
                counting.close()
                marks.append((done, _mark(on_gpu)))
                bar(done, total)

            yield noted
            if on_gpu:
                torch.cuda.synchronize(self.device)
        operations = 0 if counter is None else int(counter.get_total_flops())
        self.loops.append(Loop(time.monotonic() - begin, _steps(marks), operations))

    @property
    def steps_s(self) -> float:
        """Wall seconds of all loops."""
        return sum(loop.wall_s for loop in self.loops)

    def told(self, matrix_rate: float | None) -> dict[str, float]:
        """The median step behind the first one, in ms; where operations were counted, those of a step in TFLOP, its
        rate in TFLOP/s and, of `matrix_rate` operations a second, the fraction."""
        steps = [ms for loop in self.loops for ms in loop.step_ms]
        if not steps:
            return {}
        row = {"step_ms": median(steps)}
        counts = [loop.operations for loop in self.loops if loop.operations]
        if counts:
            rate = median(counts) / (row["step_ms"] / 1000)
            row |= {"step_tflop": median(counts) / 1e12, "tflops": rate / 1e12}
            if matrix_rate is not None:
                row["of_ceiling"] = rate / matrix_rate
        return row


def _mark(on_gpu: bool) -> Any:
    """This moment in the device's order of work."""
    if not on_gpu:
        return time.monotonic()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _steps(marks: list[tuple[int, Any]]) -> list[float]:
    """Milliseconds of every step behind the first mark. marks: steps done, and when."""
    found: list[float] = []
    for (done, begin), (more, end) in pairwise(marks):
        passed = (end - begin) * 1000 if isinstance(end, float) else begin.elapsed_time(end)
        found += [passed / (more - done)] * (more - done)
    return found
