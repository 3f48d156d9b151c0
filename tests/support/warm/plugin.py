"""Lets slow tests start warm processes, and gives the servers their folder, one a session of tests."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from execnet import XSpec

FOLDER = "I2V3D_WARM_TESTS"  # of the environment: where the servers of this session listen
COLD = sys.executable
CLIENT = Path(__file__).with_name("client.py")
EARLY = pytest.StashKey[subprocess.Popen[bytes]]()  # what starts servers before they are asked for


def pytest_configure(config: pytest.Config) -> None:
    """The first process of the session makes the folder; workers inherit its name."""
    if hasattr(config, "workerinput") or not hasattr(os, "pidfd_open"):
        return
    folder = Path(tempfile.mkdtemp(prefix="i2v3d-warm-"))
    (folder / "owner").write_text(str(os.getpid()))
    script = folder / "python"
    script.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -SE "{CLIENT}" "{sys.executable}" "{folder}" "$@"\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    os.environ[FOLDER] = str(folder)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[XSpec]) -> None:
    """Where slow tests run, which need the server in any case, workers are forked from it, too."""
    if FOLDER in os.environ and "not slow" not in config.option.markexpr:
        for spec in specs:
            spec.python = str(Path(os.environ[FOLDER], "python"))
        # The other servers' imports fill the other core meanwhile.
        start = f'"{specs[0].python}" -m snakemake --version; "{specs[0].python}" -c "import bpy"'
        config.stash[EARLY] = subprocess.Popen(["sh", "-c", start], stdout=subprocess.DEVNULL)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What this process and its workers do not count among their own."""
    used = {path.stem: float(path.read_text()) for path in Path(os.environ.get(FOLDER, "")).glob("*.cpu_s")}
    if used:
        told = ", ".join(f"{kind} {seconds:.0f} s" for kind, seconds in sorted(used.items()))
        terminalreporter.write_line(f"CPU time of warm processes: {told}")


def pytest_unconfigure(config: pytest.Config) -> None:
    """The servers end with this process; their folder goes now."""
    if (early := config.stash.get(EARLY, None)) is not None:
        early.kill()
        early.wait()
    if not hasattr(config, "workerinput") and FOLDER in os.environ:
        shutil.rmtree(os.environ.pop(FOLDER))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """For a slow test and the fixtures that it is the first to ask for; not where processes are looked for."""
    folder, marks = os.environ.get(FOLDER), {mark.name for mark in item.iter_markers()}
    warm = folder is not None and "slow" in marks and not marks & {"kill", "slurm"}
    with python(str(Path(str(folder), "python")) if warm else COLD):
        return (yield)


@contextmanager
def python(program: str = COLD) -> Iterator[None]:
    """What is started as `sys.executable` meanwhile; without an argument a process as users start it."""
    before, sys.executable = sys.executable, program
    try:
        yield
    finally:
        sys.executable = before
