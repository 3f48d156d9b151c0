"""Ctrl-C: at once, whatever snakemake is busy with, and one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from i2v3d.workflow.interrupts import INTERRUPTED, LINE

ROOT = Path(__file__).parents[2]
BUSY = "import pathlib, time\npathlib.Path('ready').touch()\ntime.sleep(60)\n"
# In the background of a shell tests are told to ignore the signal, and would pass that on.
HEED = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
PLANNING = f"""
import asyncio
from i2v3d.workflow.interrupts import heeded_at_once, show_no_stack

async def plan():
    with heeded_at_once():
        exec({BUSY!r})

show_no_stack()
asyncio.run(plan())
"""
IMPORTING = "from i2v3d.workflow.interrupts import run_snakemake; run_snakemake()"


@pytest.mark.parametrize(
    ("script", "codes"), [(PLANNING, (-signal.SIGINT, INTERRUPTED)), (IMPORTING, (INTERRUPTED,))]
)
def test_ctrl_c_is_one_line_at_once(script: str, codes: tuple[int, ...], tmp_path: Path) -> None:
    (tmp_path / "snakemake").mkdir()
    (tmp_path / "snakemake" / "__init__.py").touch()
    (tmp_path / "snakemake" / "cli.py").write_text(BUSY)
    with subprocess.Popen(
        [sys.executable, "-c", HEED + script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        while not (tmp_path / "ready").exists():
            assert started.poll() is None
            time.sleep(0.02)
        started.send_signal(signal.SIGINT)
        assert started.communicate(timeout=20)[1] == LINE
    assert started.returncode in codes
