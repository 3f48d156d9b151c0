"""The same graph through a real Slurm on this machine. Run with `make test-slurm` (as root, minutes)."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checkout import QUICK, make_checkout, shown_pictures, snakemake
from tests.support.slurm_node import missing_programs, single_node_slurm

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
# Stages of which a job is killed once, and how.
VICTIMS = {"render": "INT", "keyframes": "KILL", "interpolate": "TERM"}
CORES = os.cpu_count() or 1


def _running(environment: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(job, stage) of the running jobs that are to be killed."""
    ask = ["squeue", "--noheader", "--states=RUNNING", "--format=%i %k"]
    answer = subprocess.run(ask, env=environment, capture_output=True, text=True, check=False).stdout
    for job, comment in (line.split(maxsplit=1) for line in answer.splitlines()):
        yield from ((job, stage) for stage in VICTIMS if f"rule_{stage}_" in f"{comment}_")


def _kill_jobs(environment: dict[str, str], killed: dict[str, str], over: threading.Event) -> None:
    """Kills all processes of one job of each of the stages, at some moment, as a node does or an administrator."""
    chance = random.Random(int(os.environ.get("KILL_SEED", "0")))
    while len(killed) < len(VICTIMS) and not over.is_set():
        for job, stage in _running(environment):
            if stage not in killed:
                time.sleep(chance.uniform(1, 6))  # it computes
                kill = ["scancel", "--full", f"--signal={VICTIMS[stage]}", job]
                if subprocess.run(kill, env=environment, check=False).returncode == 0:
                    killed[stage] = job
        time.sleep(0.5)


def test_a_run_through_slurm_survives_killed_jobs_and_makes_the_same_frames(tmp_path: Path) -> None:
    missing = missing_programs()
    assert not missing, f"{missing} not found; apt-get install --no-install-recommends slurm-wlm munge"
    checkout, state = make_checkout(tmp_path / "checkout"), tmp_path / "slurm"
    words = ["--config", f"overrides={' '.join(QUICK)} run=slurm"]
    # squeue: this cluster keeps no accounts that sacct could ask
    cluster = ["--slurm-status-command", "squeue", "--jobs", "2", "--max-threads", str(CORES)]
    state.mkdir()
    killed: dict[str, str] = {}
    over = threading.Event()
    with single_node_slurm(state) as environment:
        killer = threading.Thread(target=_kill_jobs, args=(environment, killed, over))
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
    assert set(killed) == set(VICTIMS), killed
    assert done.stderr.count("Trying to restart job") == len(VICTIMS), done.stderr[-6000:]
    assert "mem_mb=5000," in done.stderr and "mem_mb=10000," in done.stderr, "the second time it gets more"
    again = snakemake(checkout, "-n", overrides=[*QUICK, "run=slurm"])
    assert "Nothing to be done" in again.stdout, again.stdout[-3000:]
    here = make_checkout(tmp_path / "here")
    assert snakemake(here, overrides=[*QUICK, "run=here"], cores=CORES).returncode == 0
    assert shown_pictures(checkout, "slurm") == shown_pictures(here, "here")
