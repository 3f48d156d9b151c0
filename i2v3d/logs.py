"""Where the program's words go: a line on standard error, everything in a log file."""

from __future__ import annotations

import logging
from pathlib import Path

NOISY = ("PIL", "urllib3", "matplotlib", "wandb", "git", "filelock", "httpx", "httpcore", "asyncio")


def set_up_logging(file: Path | None) -> None:
    """INFO on standard error, everything in `file` (overwritten); noisy libraries from WARNING on."""
    root = logging.getLogger()
    root.setLevel(logging.DEBUG)
    console = logging.StreamHandler()
    console.setLevel(logging.INFO)
    console.setFormatter(logging.Formatter("%(message)s"))
    root.addHandler(console)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        full = logging.FileHandler(file, mode="w")
        full.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root.addHandler(full)
    for library in NOISY:
        logging.getLogger(library).setLevel(logging.WARNING)
