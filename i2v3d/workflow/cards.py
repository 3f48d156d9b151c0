"""Graphics cards of this machine: where there are several, each job sees one, and shares it only if it was asked to."""

from __future__ import annotations

import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)
VISIBLE = "CUDA_VISIBLE_DEVICES"
OTHER_CARDS = ("kfd", "dxg", "nvhost-gpu")  # of AMD, of the host of a WSL, of a Jetson
POLL_S = 1.0


def cards(environment: Mapping[str, str], devices: Path) -> list[str]:
    """The cards that a process may use, as CUDA names them. devices: /dev, which counts where nothing is said."""
    if VISIBLE in environment:
        return [name.strip() for name in environment[VISIBLE].split(",") if name.strip()]
    found = (re.fullmatch(r"nvidia(\d+)", path.name) for path in devices.glob("nvidia*"))
    return [str(number) for number in sorted(int(match[1]) for match in found if match)]


def has_card(environment: Mapping[str, str], devices: Path) -> bool:
    """Whether torch may find a card, of whatever maker, as far as files of the system say. Arguments as `cards`."""
    return has_other_card(devices) or bool(cards(environment, devices))


def has_other_card(devices: Path) -> bool:
    """Whether there is a card of another maker, or behind another driver than NVIDIA's own. devices: /dev."""
    return any((devices / name).exists() for name in OTHER_CARDS)


@contextmanager
def own_card(
    environment: MutableMapping[str, str], jobs_per_card: int, devices: Path = Path("/dev")
) -> Iterator[None]:
    """Leaves one card visible, which fewer than `jobs_per_card` other jobs of this user have, and waits for such a one.

    With one card or none, as a cluster grants them, nothing is done. To be entered before CUDA is initialised.
    """
    known = cards(environment, devices)
    if len(known) < 2:
        yield
        return
    name, lock = _free_card(known, jobs_per_card)
    log.info("on card %s of %s", name, ", ".join(known))
    environment[VISIBLE] = name
    try:
        yield
    finally:
        lock.release()


def _free_card(known: list[str], jobs_per_card: int) -> tuple[str, FileLock]:
    """A card, of those with the fewest jobs, and its lock, which the system frees when this process ends."""
    told = False
    while True:
        for place, name in product(range(jobs_per_card), known):
            lock = FileLock(Path(tempfile.gettempdir(), f"i2v3d-{os.getuid()}-card-{name}-{place}.lock"))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            return name, lock
        if not told:
            log.info("waiting for one of the cards %s", ", ".join(known))
            told = True
        time.sleep(POLL_S)
