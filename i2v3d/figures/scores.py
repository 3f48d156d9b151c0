"""Scores as pictures: over the frames of a shot, and means with their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from i2v3d.metrics.catalogue import SCORES
from i2v3d.metrics.intervals import Interval

CURVES = (
    "psnr",
    "ssim",
    "mask_iou",
    "depth_si_rmse_fg",
    "identity",
    "warping_error",
    "frame_step",
    "colour_drift",
)
BETTER = {"higher": "higher is better", "lower": "lower is better", "truth": "best as the truth's"}
COLOURS = {"video": "#1b6ca8", "base": "#1b6ca8", "coarse": "#999999", "truth": "#2a8a3e"}
OTHERS = (
    "#c8553d", "#7b4ba0", "#b8860b", "#008b8b", "#d16ba5", "#5d7a1f", "#444444", "#e08214", "#35978f", "#8c510a",
)  # fmt: skip
# Text stays text, and equal numbers give equal files.
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "i2v3d",
    "font.family": "sans-serif",
    "font.size": 8,
}


def title(name: str) -> str:
    """'PSNR, dB (higher is better)'."""
    score = SCORES[name]
    unit = f", {score.unit}" if score.unit else ""
    return f"{score.label}{unit} ({BETTER[score.better]})"


def draw_curves(
    clips: Mapping[str, Mapping[str, Sequence[float]]], keyframes: Sequence[int], path: Path
) -> None:
    """Writes a PNG or SVG with a panel a score and a line a clip.

    clips: name -> score -> T values, NaN where a frame has none. keyframes: frames from 1, drawn as vertical lines.
    """
    names = [name for name in CURVES if any(name in scores for scores in clips.values())]
    with _figure(len(names), 2, 2.0, path) as (panels, legend):
        for name, panel in zip(names, panels, strict=True):
            for frame in keyframes:
                panel.axvline(frame, color="#dddddd", linewidth=1, zorder=0)
            for who, scores in clips.items():
                if name in scores:
                    values = [float(value) for value in scores[name]]
                    style = {"color": colour(who, list(clips)), "linewidth": 1.2, "marker": ".", "label": who}
                    (line,) = panel.plot(range(1, len(values) + 1), values, **style)
                    legend[who] = line
            panel.set_title(title(name), fontsize=8)
            panel.set_xlabel("frame (grey lines: keyframes)", fontsize=7)


def draw_intervals(intervals: Mapping[str, Mapping[str, Interval]], names: Sequence[str], path: Path) -> None:
    """Writes a PNG or SVG with a panel a score: a dot a method at its mean, a bar over its interval.

    The true videos are drawn as a line across.
    """
    methods = [method for method in intervals if method != "truth"]
    with _figure(len(names), 2, 0.5 + 0.19 * len(methods), path) as (panels, _):
        for name, panel in zip(names, panels, strict=True):
            if (true := intervals.get("truth", {}).get(name)) is not None:
                panel.axvline(true.mean, color=COLOURS["truth"], linestyle=":", linewidth=1.5)
            for at, method in enumerate(reversed(methods)):
                found = intervals[method].get(name)
                if found is not None:
                    shade = colour(method, methods)
                    if math.isfinite(found.low):
                        panel.plot([found.low, found.high], [at, at], color=shade, linewidth=3, alpha=0.45)
                    panel.plot([found.mean], [at], color=shade, marker="o", markersize=5)
            panel.set_yticks(range(len(methods)), list(reversed(methods)), fontsize=7)
            panel.set_ylim(-0.6, len(methods) - 0.4)
            panel.grid(axis="x", color="#eeeeee")
            panel.set_title(title(name), fontsize=8)


def colour(who: str, everyone: Sequence[str]) -> str:
    """The same colour for a name wherever it is drawn among `everyone`."""
    others = [name for name in everyone if name not in COLOURS]
    return COLOURS.get(who) or OTHERS[others.index(who) % len(OTHERS)]


class _figure:
    """A grid of panels that is written to a file at the end: with _figure(...) as (panels, legend)."""

    def __init__(self, panels: int, columns: int, height: float, path: Path) -> None:
        from matplotlib.figure import Figure  # half a second, which only a drawing should pay

        self._path, rows = path, max(1, -(-panels // columns))
        self._figure = Figure(figsize=(4.4 * columns, height * rows + 0.4), dpi=110, layout="constrained")
        grid = self._figure.subplots(rows, columns, squeeze=False).flatten()
        for panel in grid[panels:]:
            panel.set_axis_off()
        self._panels, self._legend = list(grid[:panels]), dict[str, Any]()

    def __enter__(self) -> tuple[list[Any], dict[str, Any]]:
        return self._panels, self._legend

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        from matplotlib import rc_context
        from matplotlib.ticker import MaxNLocator

        for panel in self._panels:
            panel.tick_params(labelsize=7)
            panel.xaxis.set_major_locator(MaxNLocator(5, integer=self._legend != {}))
            panel.ticklabel_format(axis="y" if self._legend else "x", style="sci", scilimits=(-2, 4))
            for axis in (panel.xaxis, panel.yaxis):
                axis.get_offset_text().set_fontsize(6)
        if self._legend:
            handles, names = self._legend.values(), self._legend.keys()
            self._figure.legend(handles, names, loc="outside upper center", ncols=5, fontsize=7)
        metadata = {"Date": None} if self._path.suffix == ".svg" else {"Software": None}
        with rc_context(STYLE):
            self._figure.savefig(self._path, metadata=metadata)
