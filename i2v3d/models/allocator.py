"""How the C library keeps the memory that networks on the CPU take and give back thousands of times."""

from __future__ import annotations

import ctypes
import logging

log = logging.getLogger(__name__)
# Of mallopt(3), and bytes: a block from MMAP_THRESHOLD on, whose largest value this is, comes from the system each time
# and page by page; what is free at the heap's end up to TRIM_THRESHOLD stays.
MMAP_THRESHOLD, LARGEST_HEAP_BLOCK = -3, 32 << 20
TRIM_THRESHOLD, KEPT = -1, 1 << 30


def keep_memory() -> bool:
    """Keeps freed memory for the next tensor, where the C library is glibc; whether it does.

    By default a tensor of more than some hundred kilobytes may be new pages, which the system clears: a fifth of the
    miniature's time on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    kept = bool(mallopt(MMAP_THRESHOLD, LARGEST_HEAP_BLOCK)) and bool(mallopt(TRIM_THRESHOLD, KEPT))
    if not kept:
        log.debug("the C library keeps no freed memory")
    return kept
