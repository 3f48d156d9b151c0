"""Shares of what a stage makes of items that do not depend on each other: made by other jobs, before its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from i2v3d.artifacts.folders import work_dir

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """The number-th, from 1, of `count` shares of the items of a stage, in their order and as even as can be."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(f"share {self.number} of {self.count}; expected one of 1 to {self.count}")

    @staticmethod
    def read(text: str) -> Share:
        """Share 2 of 4 of '2-of-4'. Raises ValueError for anything else."""
        if not (match := re.fullmatch(r"(\d{1,6})-of-(\d{1,6})", text)):
            raise ValueError(f"{text!r} is no share; expected one such as 2-of-4")
        return Share(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}-of-{self.count}"

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """Its items; none if there are more shares than items."""
        first, end = (n * len(items) // self.count for n in (self.number - 1, self.number))
        return items[first:end]

    def folder(self, out: Path) -> Path:
        """Where the share of the stage that is published as `out` lies until then."""
        return work_dir(out) / f"share-{self}"


def finished_shares(work: Path) -> list[Path]:
    """Folders of the shares that are whole, in the work folder of their stage."""
    return sorted(path for path in work.glob("share-*") if path.is_dir())
