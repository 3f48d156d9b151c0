"""What a loop's steps cost: the first one is left out of times, and alone in what is counted."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from i2v3d.commands.step_costs import TimedContext


def test_steps_behind_the_first_are_timed_and_the_first_is_counted(tmp_path: Path) -> None:
    context = TimedContext("cpu", 0, tmp_path, counted=True)
    product = torch.ones(8, 4), torch.ones(4, 16)
    with context.bar("loop") as bar:
        for step in range(4):
            torch.mm(*product)
            time.sleep(0.08 if step == 0 else 0.02)
            bar(step + 1, 4)
    (loop,) = context.loops
    assert loop.operations == 2 * 8 * 4 * 16
    assert len(loop.step_ms) == 3 and all(ms >= 20 for ms in loop.step_ms)
    told = context.told(matrix_rate=1e6)
    assert told["step_tflop"] * 1e12 == loop.operations
    assert told["of_ceiling"] == pytest.approx(told["tflops"] * 1e6)
    assert context.steps_s >= 0.14


def test_steps_that_are_told_of_together_share_their_time(tmp_path: Path) -> None:
    context = TimedContext("cpu", 0, tmp_path)
    with context.bar("loop") as bar:
        bar(1, 9)
        time.sleep(0.04)
        bar(5, 9)
    assert [ms >= 10 for ms in context.loops[0].step_ms] == [True] * 4
    assert set(context.told(None)) == {"step_ms"}


def test_a_loop_of_one_step_says_nothing_of_steps(tmp_path: Path) -> None:
    context = TimedContext("cpu", 0, tmp_path)
    with context.bar("loop") as bar:
        bar(1, 1)
    assert context.told(1e12) == {}
