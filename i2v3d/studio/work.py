"""Runs that the page starts: the commands that a user would type, in process groups of their own, with a log."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from i2v3d.artifacts.files import write_json
from i2v3d.config.names import check_name
from i2v3d.errors import ConfigError

Kind = Literal["preview", "generate"]
State = Literal["idle", "running", "finished", "failed", "cancelled"]
STOPS = ((signal.SIGINT, 20.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))  # and how long each may take
TAIL_BYTES = 200_000
_STEPS = re.compile(r"^(\d+) of (\d+) steps \(\d+%\) done", re.MULTILINE)
_RULE = re.compile(r"^(?:local)?(?:rule|checkpoint) (\w+):", re.MULTILINE)
_BAR = re.compile(r"([^\n\r|]*?): +(\d+)%\|[^|]*\| *(\d+)/(\d+) \[([\d:]+)<([\d:?]+)")
_ERROR = re.compile(r"^(?:\S* ?)?i2v3d: (?:error|defect): (.+)$", re.MULTILINE)
_PROGRAM = "i2v3d: "


@dataclass(frozen=True)
class Progress:
    """What a run is doing. done, total: jobs; stage: the last that began; bar: its own progress in [0, 1], None if it
    tells none; left_s: estimated of the whole run from what it has done; line: the log's last; error: in one line."""

    state: State
    kind: Kind | None = None
    run: str = ""
    stage: str = ""
    done: int = 0
    total: int = 0
    bar: float | None = None
    elapsed_s: float = 0.0
    left_s: float | None = None
    line: str = ""
    error: str = ""

    @property
    def share(self) -> float:
        """How far the run is, in [0, 1]."""
        if self.state == "finished":
            return 1.0
        return min(1.0, (self.done + (self.bar or 0.0)) / self.total) if self.total else 0.0


class Work:
    """At most one run at a time of a folder `here`. own: for logs, and for the record by which another process of the
    studio, or a page that comes back, finds a run."""

    def __init__(self, here: Path, own: Path) -> None:
        self._here, self._record = here, own / "run.json"
        self.log = own / "run.log"
        self._process: subprocess.Popen[bytes] | None = None
        own.mkdir(parents=True, exist_ok=True)

    def start(self, kind: Kind, run: str, words: Sequence[str]) -> None:
        """Starts `i2v3d [preview] words run=RUN`. Raises ConfigError if one runs already, or for a bad name."""
        check_name(run, "run")
        if self.progress().state == "running":
            raise ConfigError("a run is under way; cancel it, or wait until it has finished")
        command = [
            sys.executable,
            "-m",
            "i2v3d",
            *(["preview"] if kind == "preview" else []),
            *words,
            f"run={run}",
        ]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._here,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        born = psutil.Process(self._process.pid).create_time()
        self._write({"kind": kind, "run": run, "pid": self._process.pid, "born": born, "began": time.time()})

    def cancel(self) -> None:
        """Stops the run and everything that it started, gently first; what is finished stays."""
        record = self._read()
        if not record or not self._lives(record):
            return
        self._write({**record, "cancelled": True})
        for stop, patience_s in STOPS:
            try:
                os.killpg(int(str(record["pid"])), stop)
            except ProcessLookupError:
                break
            end = time.monotonic() + patience_s
            while time.monotonic() < end and self._lives(record):
                time.sleep(0.1)
            if not self._lives(record):
                break
        self.progress()

    def progress(self) -> Progress:
        """What the present or last run is doing, as its log says it."""
        record = self._read()
        if not record:
            return Progress("idle")
        text = self._tail()
        lives = self._lives(record)
        if not lives and "ended" not in record:
            record = {**record, "ended": time.time(), "status": self._status(text)}
            self._write(record)
        return read_progress(record, text, lives, time.time())

    def _status(self, text: str) -> int:
        """The exit code, of a run of this process; of another's what its log says."""
        if self._process is not None and (status := self._process.poll()) is not None:
            return status
        steps = _STEPS.findall(text)
        return 0 if "Nothing to be done" in text or (steps and steps[-1][0] == steps[-1][1]) else 1

    def _lives(self, record: dict[str, object]) -> bool:
        if self._process is not None and self._process.pid == record["pid"]:
            return self._process.poll() is None
        try:
            found = psutil.Process(int(str(record["pid"])))
            return found.create_time() == record["born"] and found.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def _tail(self) -> str:
        if not self.log.is_file():
            return ""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace")

    def _read(self) -> dict[str, object]:
        try:
            found: dict[str, object] = json.loads(self._record.read_text())
            return found
        except (OSError, ValueError):
            return {}  # none was started here, or an older studio's record cannot be read

    def _write(self, record: dict[str, object]) -> None:
        write_json(self._record, record)


def read_progress(record: dict[str, object], text: str, lives: bool, now: float) -> Progress:
    """A run's progress from its record and the end of its log."""
    began, ended = float(str(record["began"])), float(str(record.get("ended", now)))
    steps = _STEPS.findall(text)
    done, total = (int(number) for number in steps[-1]) if steps else (0, _planned(text))
    rules, lines = _RULE.findall(text), [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    last_step = text.rfind(" steps (")
    bars = [bar for bar in _BAR.finditer(text) if bar.start() > last_step]
    bar = int(bars[-1][3]) / max(1, int(bars[-1][4])) if bars else None
    state: State = "running"
    if not lives:
        failed = record.get("status") != 0
        state = "cancelled" if record.get("cancelled") else "failed" if failed else "finished"
    share = (done + (bar or 0.0)) / total if total else 0.0
    elapsed = ended - began
    return Progress(
        state=state,
        kind="preview" if record["kind"] == "preview" else "generate",
        run=str(record["run"]),
        stage=rules[-1] if rules else "",
        done=done,
        total=total,
        bar=bar,
        elapsed_s=elapsed,
        left_s=elapsed * (1 - share) / share if state == "running" and share > 0 else None,
        line=lines[-1].strip()[-200:] if lines else "",
        error=_reason(text, lines) if state == "failed" else "",
    )


def _planned(text: str) -> int:
    """How many jobs snakemake's table says."""
    found = re.findall(r"^total +(\d+)$", text, re.MULTILINE)
    return int(found[-1]) if found else 0


def _reason(text: str, lines: Sequence[str]) -> str:
    """Why a run failed: the program's own line."""
    said = _ERROR.findall(text)
    return (
        said[-1].strip() if said else (lines[-1].strip()[-300:] if lines else "it left no word; see its log")
    )
