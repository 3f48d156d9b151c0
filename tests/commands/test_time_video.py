"""A whole video on several cards: jobs wait for what they read, and every one is timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from i2v3d.commands.stage_costs import full_size_config
from i2v3d.commands.video_costs import Job, jobs_of, process_of_card
from tests.support.checkout import ROOT


def test_jobs_wait_for_what_their_stages_read(tmp_path: Path) -> None:
    jobs = jobs_of(full_size_config(tmp_path), 2)
    lora, inversion, keyframes = (Job(n, None) for n in ("lora", "keyframe_inversion", "keyframes"))
    assert jobs[lora] == jobs[Job("interpolation_inversion", 1)] == frozenset()
    assert jobs[inversion] == {lora} and jobs[keyframes] == {lora, inversion}
    assert jobs[Job("interpolate", 1)] == {keyframes, Job("interpolation_inversion", 1)}
    ready = [job for job, needs in jobs.items() if not needs]
    assert ready == [lora, Job("interpolation_inversion", 0), Job("interpolation_inversion", 1)]
    base = jobs_of(full_size_config(tmp_path, "keyframes.inversion.network=base"), 1)
    assert base[inversion] == frozenset() and len(base) == 5


def test_a_process_sees_its_own_card_from_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    with process_of_card("3", threads=5) as pool:
        assert pool.submit(os.getenv, "CUDA_VISIBLE_DEVICES").result() == "3"
        assert pool.submit(os.getenv, "OMP_NUM_THREADS").result() == "5"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,3"


@pytest.mark.slow
def test_two_processes_make_a_video(tmp_path: Path) -> None:
    """Where a job runs and when, on forks; a process of a card as it is started is tested above."""
    command = [sys.executable, "-m", "tests.support.video_on_cards", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    ends = {(row["stage"], row["segment"]): row["end_s"] for row in told["jobs"]}
    begins = {(row["stage"], row["segment"]): row["begin_s"] for row in told["jobs"]}
    assert len(ends) == 7 and told["video_s"] == pytest.approx(max(ends.values()), abs=0.1)
    assert {row["card"] for row in told["jobs"]} == {0, 1}
    for segment in range(2):
        assert begins["interpolate", segment] >= ends["keyframes", None]
        assert len(list((tmp_path / "interpolate" / f"segment_{segment:03d}").glob("*.png"))) == 5
