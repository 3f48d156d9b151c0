"""What waiting threads cost: the measuring command, and that jobs have the setting that it marks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from i2v3d.commands.stage import PROCESS_ENVIRONMENT
from i2v3d.commands.thread_costs import SETTINGS, SPIN, measure, table
from tests.support.checkout import ROOT

ROWS = [
    {"threads": 2, "setting": "", "default": False, "alone_s": 0.5, "beside_s": 4.0},
    {"threads": 2, "setting": f"{SPIN}=1000", "default": True, "alone_s": 0.55, "beside_s": 0.9},
]


def test_the_table_has_a_row_a_setting_and_marks_the_default() -> None:
    head, rule, plain, default = table(ROWS, 1).splitlines()
    assert head.count("|") == rule.count("|") == plain.count("|") == default.count("|")
    assert "| none | 0.50 | 4.00 |" in plain
    assert default.startswith(f"| 2 | {SPIN}=1000 (every job's default) | 0.55 |")


def test_the_default_of_the_jobs_is_among_the_measured_settings() -> None:
    assert {SPIN: PROCESS_ENVIRONMENT[SPIN]} in SETTINGS


@pytest.mark.slow
def test_settings_are_measured_alone_and_beside_a_busy_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    rows = measure(threads=2, calls=1, busy=1, settings=[{SPIN: PROCESS_ENVIRONMENT[SPIN]}])
    assert [row["threads"] for row in rows] == [2, 1]
    assert all(row["alone_s"] > 0 and row["beside_s"] > 0 for row in rows)
    assert [row["default"] for row in rows].count(True) == 1


def test_a_job_gets_the_setting_before_torch_reads_it_and_the_user_overrules_it() -> None:
    ask = (
        "import os, sys; from i2v3d.commands.stage import set_process_environment; set_process_environment();"
        f"assert 'torch' not in sys.modules; print(os.environ['{SPIN}'])"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", ask],
            env=os.environ | {"PYTHONPATH": str(ROOT)} | own,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for own in ({}, {SPIN: "7"})
    ]
    assert told == [PROCESS_ENVIRONMENT[SPIN], "7"]
