"""Scores as tables of a page: means with intervals, differences to a reference, and what the scores mean."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from i2v3d.figures.scores import BETTER
from i2v3d.metrics.catalogue import SCORES
from i2v3d.metrics.intervals import Interval
from i2v3d.report.comparison import GROUPS, Comparison
from i2v3d.report.page import Cell, Column, Row, ScoreNote, Table
from i2v3d.report.summary import Summary


def group_tables(found: Comparison, lead: str) -> list[Table]:
    """A table a group of scores. lead: what the captions say before 'best of a column is green'."""
    tables = []
    for group, (title, caption) in GROUPS.items():
        names = [name for name in found.scores if SCORES[name].group == group]
        if names:
            legend = f"{caption} {lead} best of a column is green. Each head says which direction is better."
            words = {"anchor": group, "title": title, "caption": legend}
            tables.append(score_table(found.summary, found.methods, names, found.all_failed(), **words))
    return tables


def score_columns(names: Iterable[str]) -> tuple[Column, ...]:
    """A column a score, with its unit and direction."""
    return tuple(
        Column(
            SCORES[name].label + (f" ({SCORES[name].unit})" if SCORES[name].unit else ""),
            BETTER[SCORES[name].better],
            SCORES[name].meaning,
        )
        for name in names
    )


def score_table(
    summary: Summary, methods: Sequence[str], names: Sequence[str], failed: Mapping[str, str], **words: str
) -> Table:
    """Means with intervals; the best of `methods` marked, the true video last. failed: method -> why."""
    rows = []
    clips = max((i.n for named in summary.intervals.values() for i in named.values()), default=0)
    for method in [*methods, *(["truth"] if "truth" in summary.intervals else [])]:
        found = summary.intervals.get(method, {})
        if not found and method in failed:
            rows.append(Row(method, (), failed=failed[method]))
            continue
        best = {name: method in summary.best(name, methods) and len(methods) > 1 for name in names}
        cells = tuple(interval_cell(found.get(name), best[name], clips) for name in names)
        rows.append(Row(method, cells, truth=method == "truth"))
    return Table(first="variant", columns=score_columns(names), rows=tuple(rows), **words)


def gain_table(summary: Summary, names: Sequence[str], **words: str) -> Table:
    """Differences to the reference with intervals; marked where the interval is on the reference's good side."""
    rows = []
    for method, found in summary.gains.items():
        if method == "truth":
            continue
        cells = []
        for name in names:
            sign = {"higher": 1, "lower": -1, "truth": 0}[SCORES[name].better]
            interval = found.get(name)
            clear = interval is not None and min(sign * interval.low, sign * interval.high) > 0
            cells.append(interval_cell(interval, clear, signed=True))
        rows.append(Row(method, tuple(cells)))
    return Table(first="against", columns=score_columns(names), rows=tuple(rows), **words)


def interval_cell(interval: Interval | None, best: bool, clips: int = 0, *, signed: bool = False) -> Cell:
    """'21.34' over '20.9 ... 21.8', and over how many clips if fewer than `clips`; a dash for nothing."""
    if interval is None:
        return Cell("–")
    form = "+.3g" if signed else ".4g"
    spread = f"{interval.low:{form}} … {interval.high:{form}}" if math.isfinite(interval.low) else ""
    some = f" ({interval.n} of {clips} clips)" if interval.n < clips else ""
    return Cell(f"{interval.mean:{form}}", spread + some, best)


def score_notes(names: Iterable[str], estimators: Mapping[str, str]) -> list[ScoreNote]:
    """The meaning of every score that is shown."""
    return [
        ScoreNote(SCORES[n].label, SCORES[n].meaning, BETTER[SCORES[n].better], estimators.get(n, ""))
        for n in names
    ]
