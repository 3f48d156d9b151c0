"""Jobs in Blender processes of their own, several at a time where that is faster, and what they report."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import Any

import psutil

from i2v3d.blender.jobs import Job, save_job
from i2v3d.blender.process import StoppedError, blender_command, run_child
from i2v3d.blender.report import RenderReport
from i2v3d.errors import RenderError
from i2v3d.progress import OnStep

log = logging.getLogger(__name__)

STALL_S = 900.0  # a frame of millions of faces takes a minute; nothing takes a quarter of an hour
FRAMES_A_PROCESS = 3  # a process takes as long to start as two frames take
# Of a process: 0.6 GB for a .blend of 13 MB (420,000 quads), rounded up.
BASE_BYTES, BYTES_A_BLEND_BYTE = 2**29, 24
MOST_PROCESSES = 16


@dataclass(frozen=True)
class Split:
    """How a render is spread: processes, and CPU threads of each (0: all)."""

    processes: int
    threads: int


def split_frames(frames: int, device: str, blend_bytes: int, free_bytes: int | None = None) -> Split:
    """Single-threaded processes, one a core, as far as frames and memory go round.

    Much of a frame (building the scene for the renderer, encoding files) is not parallel, so processes use
    cores better than threads do. The cores are OMP_NUM_THREADS's, else all that this process may use. A GPU
    gets one process. blend_bytes: of scene.blend, which says how much memory a process takes. free_bytes:
    memory; None: what is free now.
    """
    cores = granted_cores()
    if not device.startswith("cpu"):
        return Split(1, cores)
    free = psutil.virtual_memory().available if free_bytes is None else free_bytes
    need = BASE_BYTES + BYTES_A_BLEND_BYTE * blend_bytes
    most = min(cores, frames // FRAMES_A_PROCESS, free // need, MOST_PROCESSES)
    processes = max(1, most)
    return Split(processes, max(1, cores // processes))


def granted_cores() -> int:
    """OMP_NUM_THREADS's, else all that this process may use."""
    granted = os.environ.get("OMP_NUM_THREADS", "")
    return int(granted) if granted.isdecimal() and int(granted) else usable_cores()


def usable_cores() -> int:
    """How many cores this process may use, as far as the system says (macOS knows no affinity)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_jobs(
    jobs: Sequence[Job], *, what: str, total: int, on_frame: OnStep, log_dir: Path | None, stall_s: float
) -> RenderReport:
    """Runs jobs at the same time, each in a Blender process of its own, and collects what they report.

    When one fails the others are stopped, and its error is raised.
    """
    report, lock, stop = RenderReport(processes=len(jobs)), Lock(), Event()

    def on_event(event: Mapping[str, Any]) -> None:
        with lock:
            _note(report, event, total, on_frame)

    def run(number: int) -> None:
        name = type(jobs[number]).__name__.removesuffix("Job").lower()
        name += f"_{number + 1}" if len(jobs) > 1 else ""
        try:
            _run(
                jobs[number], name, what=what, log_dir=log_dir, stall_s=stall_s, on_event=on_event, stop=stop
            )
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(len(jobs)) as pool:
        try:
            failures = [future.exception() for future in [pool.submit(run, n) for n in range(len(jobs))]]
        except BaseException:
            stop.set()  # an interrupt: no process outlives it
            raise
    errors = [error for error in failures if error is not None]
    first = next((error for error in errors if not isinstance(error, StoppedError)), None)
    if first is not None:
        raise first
    return report


def _note(report: RenderReport, event: Mapping[str, Any], total: int, on_frame: OnStep) -> None:
    """Takes one event of a process into the report."""
    kind = event.get("event")
    if kind == "log":
        log.log(logging.getLevelName(event["level"]), "%s", event["message"])
    elif kind == "renderer":
        report.renderer = event["name"]
    elif kind == "frame":
        report.frames[event["frame"]] = event
        on_frame(len(report.frames), total)
    elif kind == "done":
        report.peak_memory_mib += event["peak_memory_mib"]


def _run(
    job: Job,
    name: str,
    *,
    what: str,
    log_dir: Path | None,
    stall_s: float,
    on_event: Any,
    stop: Event,
) -> None:
    with (
        _log_file(name, log_dir) as log_file,
        tempfile.TemporaryDirectory(prefix="i2v3d-blender-") as resources,
    ):
        job_file = Path(resources) / "job.json"
        save_job(job, job_file)
        run_child(
            blender_command(job_file),
            what=what,
            log_file=log_file,
            # settings and add-ons of a user's own Blender stay out
            env={**os.environ, "BLENDER_USER_RESOURCES": resources},
            stall_s=stall_s,
            on_event=on_event,
            stop=stop,
        )


@contextmanager
def _log_file(name: str, log_dir: Path | None) -> Iterator[Path]:
    """An empty file for Blender's own output; a temporary one stays after a RenderError only."""
    if log_dir is not None:
        log_dir.mkdir(parents=True, exist_ok=True)
        path = log_dir / f"{name}.log"
        path.write_bytes(b"")
        yield path
        return
    handle, temporary = tempfile.mkstemp(prefix="i2v3d-blender-", suffix=".log")
    os.close(handle)
    keep = False
    try:
        yield Path(temporary)
    except RenderError:
        keep = True
        raise
    finally:
        if not keep:
            Path(temporary).unlink()
