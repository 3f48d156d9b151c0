"""A comparison's means and intervals as Markdown tables, for pages that quote them."""

from __future__ import annotations

from collections.abc import Mapping

from i2v3d.benchmark.comparison import GROUPS, Comparison
from i2v3d.benchmark.outcomes import TRUTH
from i2v3d.metrics.catalogue import SCORES
from i2v3d.metrics.intervals import Interval

DIRECTIONS = {"higher": "higher is better", "lower": "lower is better", "truth": "best as the true video's"}


def summary_markdown(found: Comparison) -> str:
    """Per group of scores a table, a row a method; then the reference's lead over each method, clip by clip."""
    percent = f"{100 * found.settings.confidence:g} %"
    lines = [f"Means over {len(found.clips)} clips and their {percent} intervals.", ""]
    for group, (title, _) in GROUPS.items():
        names = [name for name in found.scores if SCORES[name].group == group]
        if names:
            rows = [
                m for m in (*found.methods, TRUTH) if set(names) & set(found.summary.intervals.get(m, {}))
            ]
            lines += [f"### {title}", "", *_table(found.summary.intervals, names, rows), ""]
    names = [name for name in found.scores if SCORES[name].group == "truth"]
    rows = [method for method in found.methods if method in found.summary.gains]
    if names and rows:
        lines += [f"### {found.settings.reference} minus each method, clip by clip", ""]
        lines += [*_table(found.summary.gains, names, rows), ""]
    return "\n".join(lines)


def _table(intervals: Mapping[str, Mapping[str, Interval]], names: list[str], rows: list[str]) -> list[str]:
    titles = []
    for name in names:
        score = SCORES[name]
        titles.append(f"{score.label} ({', '.join(filter(None, (score.unit, DIRECTIONS[score.better])))})")
    lines = [f"| method | {' | '.join(titles)} |", "| --- |" + " --- |" * len(names)]
    for method in rows:
        cells = [_cell(intervals[method].get(name)) for name in names]
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    return lines


def _cell(interval: Interval | None) -> str:
    if interval is None:
        return ""
    return f"{interval.mean:.4g} [{interval.low:.4g}, {interval.high:.4g}]"
