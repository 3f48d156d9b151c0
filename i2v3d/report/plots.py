"""Scores of a comparison as drawings: means with intervals, and means frame by frame."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from i2v3d.figures.scores import CURVES, draw_curves, draw_intervals
from i2v3d.metrics.catalogue import SCORES
from i2v3d.report.comparison import GROUPS, Comparison
from i2v3d.report.outcomes import TRUTH, VIDEO
from i2v3d.report.page import Plot, inline_svg


def write_plots(found: Comparison, out: Path) -> list[Plot]:
    """plots/*.svg: means with intervals, a drawing a group of scores, and means over clips frame by frame."""
    (out / "plots").mkdir()
    plots = []
    percent = f"{100 * found.settings.confidence:g} %"
    for group, (title, caption) in GROUPS.items():
        names = [name for name in found.scores if SCORES[name].group == group]
        if names:
            path = out / "plots" / f"{group}.svg"
            draw_intervals(found.summary.intervals, names, path)
            legend = (
                f"{title}. {caption} Dots: means over clips; bars: {percent} intervals; dotted green line: "
                "the true videos. Each title says which direction is better."
            )
            plots.append(Plot(inline_svg(path, group), legend))
    path = out / "plots" / "frames.svg"
    draw_curves(frame_means(found), found.sample()["keyframes"], path)
    caption = "Means over clips, frame by frame; grey lines mark the keyframes. Titles say which direction is better."
    plots.append(Plot(inline_svg(path, "frames"), caption))
    return plots


def frame_means(found: Comparison) -> dict[str, dict[str, list[float]]]:
    """method -> score -> mean over clips of every frame, NaN where no clip has a value; the truth last."""
    collected: dict[str, dict[str, dict[int, list[float]]]] = {}
    told: set[int] = set()
    for outcome in found.outcomes:
        wanted = [(outcome.trial.method, VIDEO)]
        if outcome.metrics is not None and outcome.trial.clip not in told:
            told.add(outcome.trial.clip)
            wanted.append((TRUTH, TRUTH))
        for method, clip in wanted:
            for name in CURVES:
                for frame, value in outcome.frames(name, clip).items():
                    collected.setdefault(method, {}).setdefault(name, {}).setdefault(frame, []).append(value)
    last = max((f for named in collected.values() for v in named.values() for f in v), default=0)
    order = [m for m in (*found.methods, TRUTH) if m in collected]
    return {
        method: {
            name: [fmean(values[f]) if f in values else float("nan") for f in range(1, last + 1)]
            for name, values in collected[method].items()
        }
        for method in order
    }
