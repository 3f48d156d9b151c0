"""One job a graphics card: on a machine with several, each job sees one that no other job has."""

from __future__ import annotations

import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)
VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL_S = 1.0


def cards(environment: MutableMapping[str, str], devices: Path) -> list[str]:
    """The cards that a process may use, as CUDA names them. devices: /dev, which counts where nothing is said."""
    if VISIBLE in environment:
        return [name.strip() for name in environment[VISIBLE].split(",") if name.strip()]
    found = (re.fullmatch(r"nvidia(\d+)", path.name) for path in devices.glob("nvidia*"))
    return [str(number) for number in sorted(int(match[1]) for match in found if match)]


@contextmanager
def own_card(environment: MutableMapping[str, str], devices: Path = Path("/dev")) -> Iterator[None]:
    """Leaves one card visible, which no other job of this user has, and waits for one where none is free.

    With one card or none, as a cluster grants them, nothing is done. To be entered before CUDA is initialised.
    """
    known = cards(environment, devices)
    if len(known) < 2:
        yield
        return
    name, lock = _free_card(known)
    log.info("on card %s of %s", name, ", ".join(known))
    environment[VISIBLE] = name
    try:
        yield
    finally:
        lock.release()


def _free_card(known: list[str]) -> tuple[str, FileLock]:
    """A card and its lock, which the system frees when this process ends, however that happens."""
    told = False
    while True:
        for name in known:
            lock = FileLock(Path(tempfile.gettempdir(), f"i2v3d-{os.getuid()}-card-{name}.lock"))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            return name, lock
        if not told:
            log.info("waiting for one of the cards %s", ", ".join(known))
            told = True
        time.sleep(POLL_S)
