"""One process at a time makes a folder of the cache; the others wait, and use it."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from i2v3d.errors import ArtifactError

log = logging.getLogger(__name__)
POLL_S = 0.5  # how often a waiting process looks


@contextmanager
def claimed(out: Path) -> Iterator[bool]:
    """Holds the claim on a folder that is to be published as `out`; yields whether it is still to be made.

    Another process that holds it, of this run, of an earlier one that was killed, or of another folder that shares
    the cache, is waited for. The system frees a claim when its process ends, however that happens. Raises ArtifactError
    where the disk cannot be written.
    """
    path = out.parent / f".{out.name}.lock"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, mode=0o666)  # of everybody who shares the cache
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("waiting for %s, which makes %s already", _holder(path), out)
            lock.acquire(poll_interval=POLL_S)
    except OSError as error:
        raise ArtifactError(f"cannot write in {out.parent}: {error.strerror}; free or unlock it") from error
    try:
        path.write_text(f"process {os.getpid()} on {platform.node()}")
        yield not out.is_dir() or not any(out.iterdir())
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def _holder(path: Path) -> str:
    """Who holds a claim, as it says itself."""
    try:
        return path.read_text() or "another process"
    except OSError:
        return "another process"
