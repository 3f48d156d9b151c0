"""The user's home, which other programs write to and which need not be writable: containers and clusters have such."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def cache_of_home(environment: Mapping[str, str]) -> Path:
    """Where programs keep what they can make again, as XDG has it. It need not be there."""
    return Path(environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME", "/"), ".cache"))


def may_write(folder: Path) -> bool:
    """Whether a folder can be written, or made if it is not there."""
    try:
        while not folder.exists():
            folder = folder.parent
    except PermissionError:  # it lies in somebody else's
        return False
    return os.access(folder, os.W_OK | os.X_OK)
