"""Which part of a file's name counts the frames: the only number in which the names differ."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PARTS = re.compile(r"(\d+)")


def frame_numbers(names: Sequence[str]) -> list[int] | None:
    """The frame of each name, without suffixes, such as 4 and 8 for 'shot1_f4_v2' and 'shot1_f8_v2'.

    The last number of a single name. None if names differ in anything but one number, or two have the same.
    """
    split = [_PARTS.split(name) for name in names]
    if not split or len({tuple(parts[::2]) for parts in split}) != 1 or len(split[0]) == 1:
        return None
    columns = list(zip(*(parts[1::2] for parts in split), strict=True))
    differing = [column for column in columns if len({int(word) for word in column}) > 1] or columns[-1:]
    if len(differing) != 1:
        return None
    numbers = [int(word) for word in differing[0]]
    return numbers if len(set(numbers)) == len(numbers) else None


def natural(name: str) -> list[tuple[int, str]]:
    """Sorts frame_2 before frame_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _PARTS.split(name)]


def counted(numbers: Sequence[int]) -> str:
    """Numbers as a reader wants them: '1 to 4', or '1, 2, 5, 6', shortened."""
    ordered = sorted(numbers)
    if ordered == list(range(ordered[0], ordered[-1] + 1)) and len(ordered) > 2:
        return f"{ordered[0]} to {ordered[-1]}"
    shown = ", ".join(str(number) for number in ordered[:6])
    return shown if len(ordered) <= 6 else f"{shown}, ... {ordered[-1]}"
