"""What the held-out clips of a toy world show and what moves in them, without torch: plans ask for hundreds.

The clips of the world that the shipped networks were trained in are listed in held_out_SEED_VARIANTS.csv beside this
file; those of other worlds are drawn by `clips`, which takes torch and a moment.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple, cast

from i2v3d.errors import ConfigError

Motion = Literal["camera", "object", "both", "none"]
MOVING: tuple[Motion, ...] = ("camera", "object", "both")

HELD_OUT_CLIPS = 1000  # numbers of one world; keeps the random streams of two worlds apart


class HeldOut(NamedTuple):
    """A held-out clip in words: what it shows, what moves in it."""

    caption: str
    motion: Motion


def held_out_caption(seed: int, variants: int, index: int) -> str:
    """What held-out clip `index` shows, in the toy world's words. Raises ConfigError as `clips.held_out_clip`."""
    return _held_out(seed, variants, index).caption


def chosen_clips(seed: int, variants: int, numbers: Sequence[int]) -> dict[int, Motion]:
    """These clips and their motions, ascending. Raises ConfigError for a number that is no clip's or comes twice."""
    if len(set(numbers)) < len(numbers):
        raise ConfigError(f"clips {list(numbers)} holds a number twice; name every clip once")
    return {number: _held_out(seed, variants, number).motion for number in sorted(numbers)}


def balanced_clips(seed: int, variants: int, first: int, count: int) -> dict[int, Motion]:
    """Numbers of held-out clips from `first` on, and their motions: as many of each kind of MOVING, ascending.

    Raises ConfigError if `count` is no multiple of the kinds, or the world has too few clips.
    """
    if count < 1 or count % len(MOVING):
        raise ConfigError(
            f"{count} scenes cannot be spread over {len(MOVING)} kinds of motion; use a multiple"
        )
    wanted = dict.fromkeys(MOVING, count // len(MOVING))
    found: dict[int, Motion] = {}
    for index in range(first, HELD_OUT_CLIPS):
        if not any(wanted.values()):
            break
        kind = _held_out(seed, variants, index).motion
        if wanted.get(kind):
            wanted[kind] -= 1
            found[index] = kind
    if any(wanted.values()):
        raise ConfigError(f"the toy world has too few clips from {first} on for {count} scenes; take fewer")
    return found


def check_index(index: int) -> None:
    """Raises ConfigError for an index outside 0 ... HELD_OUT_CLIPS - 1."""
    if not 0 <= index < HELD_OUT_CLIPS:
        raise ConfigError(
            f"held-out clip {index} does not exist; scene.index counts from 0 to {HELD_OUT_CLIPS - 1}"
        )


def list_path(seed: int, variants: int) -> Path:
    """Where the clips of a world are listed, if they are."""
    return Path(__file__).with_name(f"held_out_{seed}_{variants}.csv")


def read_list(seed: int, variants: int) -> tuple[HeldOut, ...]:
    """All clips of a listed world, by number."""
    with list_path(seed, variants).open(newline="") as file:
        return tuple(HeldOut(row["caption"], cast(Motion, row["motion"])) for row in csv.DictReader(file))


def write_list(clips: tuple[HeldOut, ...], path: Path) -> None:
    """What `read_list` reads."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["index", *HeldOut._fields])
        writer.writerows([index, *clip] for index, clip in enumerate(clips))


def _held_out(seed: int, variants: int, index: int) -> HeldOut:
    check_index(index)
    listed = _listed(seed, variants)
    if listed is not None:
        return listed[index]
    from i2v3d.toy.world.clips import describe  # torch, which plans of the listed worlds need not wait for

    return describe(seed, variants, index)


@lru_cache(maxsize=2)
def _listed(seed: int, variants: int) -> tuple[HeldOut, ...] | None:
    return read_list(seed, variants) if list_path(seed, variants).is_file() else None
