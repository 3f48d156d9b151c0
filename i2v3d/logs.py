"""Where the program's words go: a line on standard error, everything in a log file."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path

REASON = (
    "failed: "  # begins the line of a log file that says why a command failed; the traceback comes after it
)
NOISY = (
    *("PIL", "urllib3", "matplotlib", "wandb", "git", "filelock", "asyncio"),
    *("httpx", "httpcore", "httpx2", "httpcore2"),  # the hub's requests
)


class LogFile(logging.FileHandler):
    """A log that leaves out what its disk refuses, after one line that says so."""

    refused = False

    def handleError(self, record: logging.LogRecord) -> None:
        """Of a line that cannot be written."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.refused:
            self.refused = True
            logging.getLogger(__name__).warning(
                "the log %s goes no further: %s", self.baseFilename, error.strerror
            )


def set_up_logging(file: Path | None) -> None:
    """INFO on standard error, everything in `file` (a new one: a process
    that still writes the old one keeps that); noisy libraries from WARNING on."""
    root = logging.getLogger()
    root.setLevel(logging.DEBUG)
    console = logging.StreamHandler()
    console.setLevel(logging.INFO)
    console.setFormatter(logging.Formatter("%(message)s"))
    root.addHandler(console)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        full = LogFile(file, mode="w")
        full.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root.addHandler(full)
    for library in NOISY:
        logging.getLogger(library).setLevel(logging.WARNING)


def reason(file: Path) -> str | None:
    """Why the command that wrote a log file failed: its own words, None if it left none (it was killed)."""
    text = file.read_text(errors="replace")
    said = re.findall(rf"^\S+ \S+ DEBUG i2v3d: {REASON}(?:error: )?(.+)$", text, flags=re.MULTILINE)
    return str(said[-1]) if said else None
