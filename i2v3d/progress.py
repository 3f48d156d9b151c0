"""Progress of long work: a tqdm bar on a terminal, a line every few seconds in a log file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from tqdm import tqdm

T = TypeVar("T")


class OnStep(Protocol):
    """Called by samplers and loops after each step; `done` and `total` count steps, from 1."""

    def __call__(self, done: int, total: int) -> None: ...


def ignore_step(done: int, total: int) -> None:
    """The `OnStep` that does nothing."""


def track(
    items: Iterable[T], *, desc: str, unit: str, total: int | None = None, after_s: float = 0
) -> Iterator[T]:
    """Iterates over `items` showing rate and time left on standard error, once `after_s` seconds have passed."""
    interactive = sys.stderr.isatty()
    yield from tqdm(
        items,
        desc=desc,
        unit=unit,
        total=total,
        delay=after_s,
        file=sys.stderr,
        mininterval=0.2 if interactive else 5.0,
        dynamic_ncols=interactive,
        ascii=not interactive,
    )


class StepBar:
    """An `OnStep` that draws one bar; use as a context manager. `count` items are done in each step."""

    def __init__(self, desc: str, unit: str = "step") -> None:
        self._desc, self._unit = desc, unit
        self._bar: tqdm | None = None

    def __enter__(self) -> StepBar:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int) -> None:
        if self._bar is None:
            interactive = sys.stderr.isatty()
            self._bar = tqdm(
                desc=self._desc,
                unit=self._unit,
                total=total,
                file=sys.stderr,
                mininterval=0.2 if interactive else 5.0,
                ascii=not interactive,
            )
        self._bar.update(done - self._bar.n)
