"""What the coarse renders cost, as a command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from i2v3d.cli import main

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_it_says_time_memory_and_likeness() -> None:
    """In a process of its own, which it restricts to some cores."""
    words = ["--size", "96x64", "--frames", "3", "--samples", "2", "--cores", "1", "--json"]
    command = [sys.executable, "-m", "i2v3d", "time-render", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout)
    assert (result["scene"], result["size"], result["frames"], result["processes"]) == (
        "coffee",
        "96x64",
        3,
        1,
    )
    assert result["render_cpu_s"] > 0 and result["render_cpu_s_per_frame"] * 3 == result["render_cpu_s"]
    assert result["render_wall_s"] > 0 and result["peak_memory_mib"] > 100
    assert result["photo_psnr_foreground_db"] > 25


def test_more_cores_than_there_are_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["time-render", "--cores", "100000"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--cores is 100000 but this process may use" in line
