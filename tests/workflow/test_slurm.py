"""The same graph through a real Slurm on this machine. Run with `make test-slurm` (as root, minutes)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.checkout import QUICK, make_checkout, shown_pictures, snakemake
from tests.support.slurm_node import missing_programs, single_node_slurm

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
VICTIM = "keyframes"  # the stage whose job is killed once
CORES = os.cpu_count() or 1


def _kill_job(environment: dict[str, str], killed: list[str], over: threading.Event) -> None:
    """Kills all processes of the first running job of the stage, as a node does that runs out of memory."""
    ask = ["squeue", "--noheader", "--states=RUNNING", "--format=%i %k"]
    while not killed and not over.is_set():
        answer = subprocess.run(ask, env=environment, capture_output=True, text=True, check=False).stdout
        for job, comment in (line.split(maxsplit=1) for line in answer.splitlines()):
            if f"rule_{VICTIM}_" in f"{comment}_":
                time.sleep(5)  # it computes
                kill = ["scancel", "--full", "--signal=KILL", job]
                subprocess.run(kill, env=environment, check=True)
                killed.append(job)
                return
        time.sleep(0.5)


def test_a_run_through_slurm_survives_a_killed_job_and_makes_the_same_frames(tmp_path: Path) -> None:
    missing = missing_programs()
    assert not missing, f"{missing} not found; apt-get install --no-install-recommends slurm-wlm munge"
    checkout, state = make_checkout(tmp_path / "checkout"), tmp_path / "slurm"
    words = ["--config", f"overrides={' '.join(QUICK)} run=slurm"]
    # squeue: this cluster keeps no accounts that sacct could ask
    cluster = ["--slurm-status-command", "squeue", "--jobs", "2", "--max-threads", str(CORES)]
    state.mkdir()
    killed: list[str] = []
    over = threading.Event()
    with single_node_slurm(state) as environment:
        killer = threading.Thread(target=_kill_job, args=(environment, killed, over))
        killer.start()
        try:
            done = subprocess.run(
                [sys.executable, "-m", "snakemake", "--workflow-profile", "slurm", *cluster, *words],
                cwd=checkout,
                env=environment,
                capture_output=True,
                text=True,
                timeout=2400,
                check=False,
            )
        finally:
            over.set()
            killer.join()
        assert done.returncode == 0, done.stderr[-6000:]
    assert len(killed) == 1 and "Trying to restart job" in done.stderr, done.stderr[-6000:]
    again = snakemake(checkout, "-n", overrides=[*QUICK, "run=slurm"])
    assert "Nothing to be done" in again.stdout, again.stdout[-3000:]
    here = make_checkout(tmp_path / "here")
    assert snakemake(here, overrides=[*QUICK, "run=here"], cores=CORES).returncode == 0
    assert shown_pictures(checkout, "slurm") == shown_pictures(here, "here")
