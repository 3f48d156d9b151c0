"""Folders that libraries made when they were imported, which a fork must not remove."""

from __future__ import annotations

import atexit
import tempfile
import weakref


def library_folders() -> list[tempfile.TemporaryDirectory[str]]:
    """Folders that libraries made when they were imported and remove at the end of their process.

    Such as W&B's for pictures. A fork must leave them to the next; from then on its end removes none.
    """
    found = []
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        alive = finalizer.peek()
        if alive and isinstance(alive[0], tempfile.TemporaryDirectory):
            finalizer.atexit = False
            found.append(alive[0])
    return found


def leave_library_folders() -> None:
    """Lets this fork end without removing them."""
    for made in library_folders():
        atexit.unregister(made.cleanup)
