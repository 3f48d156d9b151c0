"""Means over clips with intervals, differences to a reference method clip by clip, and their tables."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2v3d.benchmark.settings import BenchmarkSettings
from i2v3d.metrics.catalogue import SCORES
from i2v3d.metrics.intervals import Interval, mean_interval

Scores = Mapping[str, Mapping[str, Mapping[int, float]]]


@dataclass(frozen=True)
class Summary:
    """intervals: method -> score -> mean over clips. gains: the same of reference minus
    method, over the clips that both have."""

    intervals: dict[str, dict[str, Interval]]
    gains: dict[str, dict[str, Interval]]

    def best(self, name: str, methods: Iterable[str]) -> set[str]:
        """The methods whose mean is the best of a score (several only if they are equal).

        Empty for a score that is best as the truth's, or where no method has it.
        """
        score = SCORES[name]
        there = {m: self.intervals[m][name] for m in methods if name in self.intervals.get(m, {})}
        if score.better == "truth" or not there:
            return set()
        sign = 1 if score.better == "higher" else -1
        top = max(sign * interval.mean for interval in there.values())
        return {m for m, interval in there.items() if sign * interval.mean >= top}


def summarise(scores: Scores, settings: BenchmarkSettings) -> Summary:
    """Means and paired differences of all scores; bootstrap over clips, seeded."""

    def over(values: Sequence[float]) -> Interval:
        return mean_interval(
            values, confidence=settings.confidence, resamples=settings.resamples, seed=settings.seed
        )

    intervals = {
        method: {name: over(list(values.values())) for name, values in named.items()}
        for method, named in scores.items()
    }
    reference = scores.get(settings.reference, {})
    gains: dict[str, dict[str, Interval]] = {}
    for method, named in scores.items():
        for name, values in named.items():
            both = sorted(set(values) & set(reference.get(name, {})))
            if both and method != settings.reference:
                differences = [reference[name][clip] - values[clip] for clip in both]
                gains.setdefault(method, {})[name] = over(differences)
    return Summary(intervals, gains)


def write_intervals(path: Path, intervals: Mapping[str, Mapping[str, Interval]]) -> None:
    """CSV: method, metric, mean, low, high, n."""
    write_table(
        path,
        [
            {"method": method, "metric": name, "mean": i.mean, "low": i.low, "high": i.high, "n": i.n}
            for method, named in intervals.items()
            for name, i in named.items()
        ],
        ("method", "metric", "mean", "low", "high", "n"),
    )


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """CSV of rows; floats with seven digits, NaN as nothing."""

    def cell(value: Any) -> Any:
        if isinstance(value, float):
            return "" if value != value else f"{value:.7g}"
        return value

    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in rows:
            writer.writerow([cell(row.get(column, "")) for column in columns])
