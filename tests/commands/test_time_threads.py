"""What waiting threads cost: the measuring command, and that jobs have the setting that it marks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from i2v3d.commands.thread_costs import SETTINGS, measure, table
from i2v3d.workflow.process_environment import WAITING_THREADS
from tests.support.checkout import ROOT

(NAME,) = WAITING_THREADS
ROWS = [
    {"threads": 2, "setting": "", "default": False, "alone_s": 0.5, "beside_s": 4.0},
    {"threads": 2, "setting": "OMP_WAIT_POLICY=PASSIVE", "default": True, "alone_s": 0.55, "beside_s": 0.9},
]


def test_the_table_has_a_row_a_setting_and_marks_the_default() -> None:
    head, rule, plain, default = table(ROWS, 1).splitlines()
    assert head.count("|") == rule.count("|") == plain.count("|") == default.count("|")
    assert "| none | 0.50 | 4.00 |" in plain
    assert default.startswith("| 2 | OMP_WAIT_POLICY=PASSIVE (every job's default) | 0.55 |")


def test_the_default_of_the_jobs_is_among_the_measured_settings() -> None:
    assert WAITING_THREADS in SETTINGS


@pytest.mark.slow
def test_settings_are_measured_alone_and_beside_a_busy_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # any folder will do
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    rows = measure(threads=2, calls=1, busy=1, settings=[WAITING_THREADS])
    assert [row["threads"] for row in rows] == [2, 1]
    assert all(row["alone_s"] > 0 and row["beside_s"] > 0 for row in rows)
    assert [row["default"] for row in rows].count(True) == 1


def test_a_job_gets_the_setting_before_torch_reads_it_and_the_user_overrules_it() -> None:
    ask = (
        "import os, sys; from i2v3d.workflow.process_environment import set_process_environment;"
        " set_process_environment();"
        f"assert 'torch' not in sys.modules; print(os.environ['{NAME}'])"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", ask],
            env=os.environ | {"PYTHONPATH": str(ROOT)} | own,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for own in ({}, {NAME: "ACTIVE"})
    ]
    assert told == [WAITING_THREADS[NAME], "ACTIVE"]
