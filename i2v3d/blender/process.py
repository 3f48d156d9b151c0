"""A Blender process seen from its parent: events in, one-line errors out, everything else in a log."""

from __future__ import annotations

import json
import logging
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import IO, Any

from i2v3d import errors
from i2v3d.errors import I2V3DError, MachineError, RenderError

log = logging.getLogger(__name__)

Report = Mapping[str, Any]  # what a child prints
EXIT_S = 60.0
FULL_BYTES = 1_000_000  # a disk with less is why a child ended that could not say so itself
INSIDE = "i2v3d.blender.inside.worker"  # a module by name: only another Python may import it
POLL_S = 0.5  # how often a child is asked whether it should go on


class StoppedError(Exception):
    """A child was stopped because another one of the same work failed."""


def blender_command(job_file: Path) -> list[str]:
    """The command that does a saved job inside Blender."""
    return [sys.executable, "-m", INSIDE, str(job_file)]


def run_child(
    command: Sequence[str],
    *,
    what: str,
    log_file: Path,
    env: Mapping[str, str],
    stall_s: float,
    on_event: Callable[[Report], None],
    stop: Event | None = None,
) -> None:
    """Runs `command` to its end and hands each event that it prints to `on_event`.

    The child prints one JSON object a line on standard output: {"event": "log" | "error" | "done" | ...};
    standard error goes to `log_file`. what: names the work in messages, e.g. "rendering scene 'car'".
    stall_s: seconds without any event after which the child is killed. stop: when another thread sets it,
    the child is killed, too.

    Raises the I2V3DError that the child reports, RenderError (with the log's path) if it ends without
    "done", dies of a signal or stalls, StoppedError if it was stopped, and MachineError if it cannot be started or its
    disk is full.
    """
    finished = False
    with log_file.open("ab") as log_stream:
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log_stream, env=env
            )
        except OSError as error:
            raise MachineError(f"cannot start a process for {what}: {error.strerror}") from error
        try:
            assert child.stdout is not None, "the child's standard output is a pipe"
            for line in _lines(child.stdout, stall_s, stop):
                event = _parse(line)
                _raise_reported(event, log_file, what)
                finished = finished or event.get("event") == "done"
                on_event(event)
            code = child.wait(EXIT_S)
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            raise RenderError(
                f"Blender made no progress for {stall_s:.0f} s while {what} and was stopped; see {log_file}"
            ) from error
        finally:
            _stop(child)
    if code != 0 or not finished:
        _raise_full(log_file, what)
        raise RenderError(f"Blender {_cause(code)} while {what}; a mesh may be broken; see {log_file}")


def _lines(stream: IO[bytes], stall_s: float, stop: Event | None) -> Iterator[str]:
    """Lines of a pipe as they come. Raises TimeoutError when nothing comes for `stall_s` seconds."""
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        silent_since = time.monotonic()
        while True:
            ready = selector.select(min(stall_s, POLL_S))
            if stop is not None and stop.is_set():
                raise StoppedError
            if not ready:
                if time.monotonic() - silent_since >= stall_s:
                    raise TimeoutError
                continue
            silent_since = time.monotonic()
            chunk = os.read(stream.fileno(), 65536)
            if not chunk:
                return
            *lines, pending = (pending + chunk).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)


def _parse(line: str) -> Report:
    """The event in a line; anything else becomes a log event."""
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    return event if isinstance(event, dict) else {"event": "log", "level": "DEBUG", "message": line}


def _raise_full(log_file: Path, what: str) -> None:
    """Raises MachineError if there is no space where the child writes: Blender fails then in many words, or in none."""
    for folder in (log_file.parent, Path(tempfile.gettempdir())):
        if shutil.disk_usage(folder).free < FULL_BYTES:
            raise MachineError(
                f"no space left in {folder} while {what}; free some and run the same command again"
            )


def _raise_reported(event: Report, log_file: Path, what: str) -> None:
    """Raises the error that the child reports by its class name; a RenderError also names the log.

    A file that could not be written, or cannot be read again, is no error of the scene on a full disk.
    """
    if event.get("event") != "error":
        return
    if event["type"] in ("ArtifactError", "RenderError"):
        _raise_full(log_file, what)
    cls = getattr(errors, str(event["type"]), RenderError)
    known = isinstance(cls, type) and issubclass(cls, I2V3DError) and cls is not RenderError
    raise cls(event["message"]) if known else RenderError(f"{event['message']}; see {log_file}")


def _cause(code: int) -> str:
    """How a process ended, in words."""
    if code < 0:
        return f"crashed ({signal.Signals(-code).name}, signal {-code})"
    return f"ended early (exit status {code})"


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Makes sure that the child is gone, also after an error or an interrupt in the parent."""
    if child.poll() is None:
        child.kill()
        child.wait()
    if child.stdout is not None:
        child.stdout.close()
