"""The profiles of machines: what they name is there, and the template submits what its words say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from i2v3d.stages.registry import STAGES
from tests.support.checkout import QUICK, ROOT, make_checkout

CLUSTERS = ("slurm", "kubernetes", "cluster-generic")
# Stands for a queue: notes its words, starts the script beside everything else, and says a number of the job.
QSUB = """#!/bin/sh
echo "$@" >>"$SAID"
for script; do :; done
setsid sh "$script" >/dev/null 2>&1 &
echo $!
"""


def profile(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text()))


@pytest.mark.parametrize("name", CLUSTERS)
def test_clusters_try_again_and_submit_cheap_stages_together(name: str) -> None:
    said = profile(name)
    assert said["retries"] >= 1 and said["executor"] in ("slurm", "cluster-generic")
    groups = dict(group.split("=") for group in said["groups"])
    assert set(groups) < set(STAGES) and set(groups.values()) == {"finish"}
    machines = [STAGES[stage].machine for stage in groups]
    assert all(machine.gpus == 0 and machine.minutes <= 30 for machine in machines)


def test_a_workstation_s_card_is_one_job_s_unless_more_are_asked_for() -> None:
    assert profile("default")["resources"] == ["gpu=1"]
    assert all(stage.machine.gpus <= 1 for stage in STAGES.values())


@pytest.mark.slow
@pytest.mark.slurm
def test_the_template_runs_on_a_queue_with_the_words_of_pbs(tmp_path: Path) -> None:
    """A preview, whose jobs a stand-in of `qsub` starts as processes."""
    checkout, programs = make_checkout(tmp_path / "checkout"), tmp_path / "bin"
    programs.mkdir()
    (programs / "qsub").write_text(QSUB)
    (programs / "qsub").chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", "cluster-generic", "preview"]
    done = subprocess.run(
        [*command, "--config", f"overrides={' '.join(QUICK)}"],
        cwd=checkout,
        env={**os.environ, "PATH": path, "SAID": str(tmp_path / "said")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert (checkout / "results" / "demo" / "base" / "preview" / "coarse.mp4").is_file()
    submitted = (tmp_path / "said").read_text().splitlines()
    words = [
        f"-l select=1:ncpus={n}:mem={mb}mb:ngpus=0 -l walltime=00:{minutes}:00" for n, mb, minutes in JOBS
    ]
    assert [any(line.startswith(start) for line in submitted) for start in words] == [True] * len(words), (
        submitted
    )


# (threads, memory, minutes) of the jobs of a preview that are submitted
JOBS = [(m.threads, m.memory_mb, m.minutes) for m in (STAGES[stage].machine for stage in ("scene", "render"))]
