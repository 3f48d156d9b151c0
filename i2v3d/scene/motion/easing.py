"""How far a movement between two keys has come: Blender's F-curve modes as functions of time in [0, 1].

Source: Blender's easing equations, which are Penner's (Robert Penner, Programming Macromedia Flash MX,
chapter 7). Blender's automatic easing makes SINE to CIRC ease in, BACK and BOUNCE ease out. Its ELASTIC swings
in frames instead, so it is no function of time alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

BACK_OVERSHOOT = 1.70158  # ten percent; Blender's default


def _power(exponent: int) -> Callable[[float], float]:
    return lambda u: float(u**exponent)


def _exponential(u: float) -> float:
    """Shifted and scaled as Blender does, so that it begins at 0 exactly."""
    low = 2.0**-10
    return (2.0 ** (10.0 * (u - 1.0)) - low) / (1.0 - low)


def _back(u: float) -> float:
    if u == 0.0:
        return 0.0  # exactly: the first frame is the photo's own view
    v = u - 1.0
    return v * v * ((BACK_OVERSHOOT + 1.0) * v + BACK_OVERSHOOT) + 1.0


def _bounce(u: float) -> float:
    """Three parabolas, each smaller than the one before."""
    for end, centre, height in ((1.0, 0.0, 0.0), (2.0, 1.5, 0.75), (2.5, 2.25, 0.9375)):
        if u < end / 2.75:
            return 7.5625 * (u - centre / 2.75) ** 2 + height
    return 7.5625 * (u - 2.625 / 2.75) ** 2 + 0.984375


EASINGS: Mapping[str, Callable[[float], float]] = {
    "CONSTANT": lambda u: float(u >= 1.0),
    "LINEAR": lambda u: u,
    "BEZIER": lambda u: u * u * (3.0 - 2.0 * u),
    "SINE": lambda u: 1.0 - math.cos(u * math.pi / 2.0),
    "QUAD": _power(2),
    "CUBIC": _power(3),
    "QUART": _power(4),
    "QUINT": _power(5),
    "EXPO": _exponential,
    "CIRC": lambda u: 1.0 - math.sqrt(max(0.0, 1.0 - u * u)),
    "BACK": _back,
    "BOUNCE": _bounce,
}
