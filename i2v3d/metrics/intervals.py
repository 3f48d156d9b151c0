"""Means over scenes with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import bootstrap

from i2v3d.errors import ShapeError


class Interval(NamedTuple):
    """A mean, the ends of its confidence interval, and the number of values (n)."""

    mean: float
    low: float
    high: float
    n: int


def mean_interval(values: Sequence[float], *, confidence: float, resamples: int, seed: int) -> Interval:
    """The mean of one value a scene, with its bootstrap interval (percentile, over scenes).

    One value has no interval: both ends are NaN. Raises ShapeError for no value, NaN or infinity. Source:
    Efron and Tibshirani 1993.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0 or not np.isfinite(array).all():
        raise ShapeError(f"{len(array)} values, all of which must be finite, cannot be averaged: {array[:5]}")
    if len(array) == 1:
        return Interval(float(array[0]), float("nan"), float("nan"), 1)
    if np.ptp(array) == 0:
        return Interval(float(array[0]), float(array[0]), float(array[0]), len(array))
    found = bootstrap(
        (array,),
        np.mean,
        confidence_level=confidence,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(array.mean()), float(found.low), float(found.high), len(array))
