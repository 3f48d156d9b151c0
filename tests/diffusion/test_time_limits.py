"""Fractions of the steps."""

from __future__ import annotations

import pytest

from i2v3d.diffusion.time_limits import within


@pytest.mark.parametrize(
    ("steps", "fraction", "count"),
    [(50, 0.8, 40), (10, 0.7, 7), (5, 0.6, 3), (5, 1.0, 5), (5, 0.0, 0), (7, 0.5, 4)],
)
def test_a_fraction_of_the_steps(steps: int, fraction: float, count: int) -> None:
    assert sum(within(i, steps, fraction) for i in range(steps)) == count


def test_the_released_limit_holds_one_step_longer() -> None:
    assert [within(i, 5, 0.8, inclusive=True) for i in range(6)] == [True] * 5 + [False]
    assert [within(i, 5, 0.8) for i in range(6)] == [True] * 4 + [False] * 2
