"""The benchmark of coarse renders, as a command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def benchmark(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "i2v3d", "render-benchmark", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def test_it_says_time_memory_and_likeness() -> None:
    done = benchmark("--size", "96x64", "--frames", "3", "--samples", "2", "--cores", "1", "--json")
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


def test_wrong_words_are_one_line() -> None:
    for words, message in (
        (("--cores", "100000"), "--cores is 100000 but this process may use"),
        (("--cores", "0"), "--cores is 0; expected at least 1"),
        (("--size", "big"), "--size is 'big'; expected WIDTHxHEIGHT"),
    ):
        done = benchmark(*words)
        assert done.returncode == 2 and message in done.stderr.splitlines()[-1]
