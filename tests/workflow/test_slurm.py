"""The same graph through a real Slurm on this machine. Run with `make test-slurm` (as root, minutes)."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.checkout import QUICK, make_checkout, shown_pictures, snakemake
from tests.support.slurm_node import missing_programs, single_node_slurm

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
# Stages of which a job is killed once, and how.
VICTIMS = {"render": "INT", "keyframes": "KILL", "interpolate": "TERM"}
CORES = os.cpu_count() or 1
# On the threads, of which a cluster's jobs get others than a workstation's, the last bits depend.
WORDS = (*QUICK, "runtime.threads=1")


def _running(environment: dict[str, str]) -> Iterator[tuple[str, str, int]]:
    """(job, stage, megabytes that it has asked for) of the running jobs of stages that are to be killed."""
    ask = ["squeue", "--noheader", "--states=RUNNING", "--format=%i %m %k"]
    answer = subprocess.run(ask, env=environment, capture_output=True, text=True, check=False).stdout
    for job, memory, comment in (line.split(maxsplit=2) for line in answer.splitlines()):
        for stage in VICTIMS:
            if f"rule_{stage}_" in f"{comment}_":
                yield job, stage, int(memory.removesuffix("M"))


@dataclass
class Killer:
    """Kills all processes of one job of each of the stages, at some moment, as a node does or an administrator.

    killed: stage -> job. asked_mb: stage -> what its jobs have asked for.
    """

    environment: dict[str, str]
    over: threading.Event = field(default_factory=threading.Event)
    killed: dict[str, str] = field(default_factory=dict)
    asked_mb: dict[str, set[int]] = field(default_factory=dict)

    def run(self) -> None:
        """Until it is over."""
        chance = random.Random(int(os.environ.get("KILL_SEED", "0")))
        while not self.over.wait(0.5):
            for job, stage, memory in _running(self.environment):
                self.asked_mb.setdefault(stage, set()).add(memory)
                if stage not in self.killed:
                    time.sleep(chance.uniform(1, 6))  # it computes
                    kill = ["scancel", "--full", f"--signal={VICTIMS[stage]}", job]
                    if subprocess.run(kill, env=self.environment, check=False).returncode == 0:
                        self.killed[stage] = job


def test_a_run_through_slurm_survives_killed_jobs_and_makes_the_same_frames(tmp_path: Path) -> None:
    missing = missing_programs()
    assert not missing, f"{missing} not found; apt-get install --no-install-recommends slurm-wlm munge"
    checkout, state = make_checkout(tmp_path / "checkout"), tmp_path / "slurm"
    words = ["--config", f"overrides={' '.join(WORDS)} run=slurm"]
    # squeue: this cluster keeps no accounts that sacct could ask
    cluster = ["--slurm-status-command", "squeue", "--jobs", "2", "--max-threads", str(CORES)]
    state.mkdir()
    with single_node_slurm(state) as environment:
        killer = Killer(environment)
        thread = threading.Thread(target=killer.run)
        thread.start()
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
            killer.over.set()
            thread.join()
        assert done.returncode == 0, done.stderr[-6000:]
    assert set(killer.killed) == set(VICTIMS), killer
    assert done.stderr.count("Trying to restart job") == len(VICTIMS), done.stderr[-6000:]
    first, second = sorted(killer.asked_mb["keyframes"])
    assert second == 2 * first, "a job that is tried again gets more memory"
    again = snakemake(checkout, "-n", overrides=[*WORDS, "run=slurm"])
    assert "Nothing to be done" in again.stdout, again.stdout[-3000:]
    here = make_checkout(tmp_path / "here")
    assert snakemake(here, overrides=[*WORDS, "run=here"], cores=CORES).returncode == 0
    assert shown_pictures(checkout, "slurm") == shown_pictures(here, "here")
