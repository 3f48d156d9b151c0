"""Events from a Blender process to its parent, one JSON object a line."""

from __future__ import annotations

import json
import logging
import os
from typing import Any


class Reporter:
    """Writes events to the process's original standard output.

    Blender prints to file descriptor 1 from C, so that descriptor is pointed at standard error (the log
    file) and the events keep a copy of the old one.
    """

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)

    def send(self, event: str, **values: Any) -> None:
        """Sends one event. Raises BrokenPipeError if the parent is gone."""
        self._stream.write(json.dumps({"event": event, **values}) + "\n")


class ReportHandler(logging.Handler):
    """Relays log records as events."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__(logging.INFO)
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        """Sends one record."""
        self._reporter.send("log", level=record.levelname, message=record.getMessage())
