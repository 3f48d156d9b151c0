"""When along the sampling something holds."""

from __future__ import annotations


def within(step: int, steps: int, fraction: float, inclusive: bool = False) -> bool:
    """Whether 0-based `step` lies in the first `fraction` of `steps`.

    inclusive: step <= fraction * steps, which holds one step longer, as the released code does.
    """
    limit = round(fraction * steps, 6)  # 0.7 * 10 is 7.000000000000001 in floating point
    return step <= limit if inclusive else step < limit
