"""The same graph through a real Slurm on this machine. Run with `make test-slurm` (as root, minutes)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.slurm_node import missing_programs, single_node_slurm

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slurm


def test_a_reduced_experiment_runs_through_slurm_and_is_finished_for_this_machine(tmp_path: Path) -> None:
    missing = missing_programs()
    assert not missing, f"{missing} not found; apt-get install --no-install-recommends slurm-wlm munge"
    checkout = tmp_path / "checkout"
    ignored = shutil.ignore_patterns(".git", ".venv", "results", ".snakemake", "__pycache__")
    shutil.copytree(ROOT, checkout, ignore=ignored, symlinks=True)
    words = ["--config", "overrides=experiment=quick run=slurm"]
    # squeue: this cluster keeps no accounts that sacct could ask
    cluster = ["--slurm-status-command", "squeue", "--jobs", "2", "--max-threads", str(os.cpu_count())]
    state = tmp_path / "slurm"
    state.mkdir()
    snakemake = [sys.executable, "-m", "snakemake"]
    with single_node_slurm(state) as environment:
        done = subprocess.run(
            [*snakemake, "--profile", "profiles/slurm", *cluster, *words],
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
            timeout=1500,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
    assert (checkout / "results/slurm/base/video.mp4").stat().st_size > 0
    again = subprocess.run(
        [*snakemake, "-n", "--cores", "1", *words], cwd=checkout, capture_output=True, text=True, check=True
    )
    assert "Nothing to be done" in again.stdout + again.stderr
