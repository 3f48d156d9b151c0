"""results/benchmark: rows, means with intervals, plots, videos and a page, of whatever was finished."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from statistics import fmean

from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.artifacts.scene_folder import SceneFolder
from i2v3d.errors import ArtifactError
from i2v3d.figures.scores import CURVES, draw_curves, draw_intervals
from i2v3d.metrics.catalogue import SCORES
from i2v3d.report.comparison import GROUPS, Comparison, compare
from i2v3d.report.films import film, side_by_side
from i2v3d.report.markdown import tables_markdown
from i2v3d.report.outcomes import TRUTH, VIDEO, Outcome, folder, long_rows, scene_scores
from i2v3d.report.page import Films, Plot, inline_svg
from i2v3d.report.report_page import page_tables, write_page
from i2v3d.report.summary import summarise, write_intervals, write_table

log = logging.getLogger(__name__)

COLUMNS = 4  # tiles beside each other in a video


def write_benchmark(plan_file: Path, cache: Path, out: Path) -> None:
    """Writes everything into the empty folder `out`. Raises ArtifactError if no trial was finished at all."""
    found = compare(plan_file, cache)
    if found.finished() is None:
        raise ArtifactError(
            f"no trial of {plan_file} is finished: {found.outcomes[0].failure}; run snakemake again"
        )
    write_tables(found, out)
    plots = write_plots(found, out)
    write_page(found, plots, write_films(found, cache, out), out / "report.html")
    failed = sum(outcome.failure is not None for outcome in found.outcomes)
    log.info(
        "%d of %d trials finished: %s", len(found.outcomes) - failed, len(found.outcomes), _headline(found)
    )


def write_run(plan_file: Path, cache: Path, out: Path) -> None:
    """Writes comparison.html and comparison.csv, of variants on one shot. Raises ArtifactError if none was finished."""
    with tempfile.TemporaryDirectory(prefix="i2v3d-") as temporary:
        write_benchmark(plan_file, cache, Path(temporary))
        shutil.copyfile(Path(temporary) / "report.html", out / "comparison.html")
        shutil.copyfile(Path(temporary) / "summary.csv", out / "comparison.csv")


def write_tables(found: Comparison, out: Path) -> None:
    """rows.csv, scenes.csv, summary.csv and summary.md, gains.csv, summary_by_motion.csv and failures.csv."""
    frame_scores = [name for name, score in SCORES.items() if score.over != "whole"]
    rows = list(long_rows(found.outcomes, found.clips))
    write_table(out / "rows.csv", rows, ["scene", "motion", "method", "frame", "keyframe", *frame_scores])
    scores = scene_scores(found.outcomes)
    scenes = [
        {
            "scene": clip,
            "motion": found.clips[clip].motion,
            "caption": found.clips[clip].caption,
            "method": method,
            **{name: values[clip] for name, values in named.items() if clip in values},
        }
        for method, named in scores.items()
        for clip in found.clips
    ]
    write_table(out / "scenes.csv", scenes, ["scene", "motion", "caption", "method", *SCORES])
    write_intervals(out / "summary.csv", found.summary.intervals)
    write_intervals(out / "gains.csv", found.summary.gains)
    (out / "summary.md").write_text(tables_markdown(page_tables(found)))
    by_motion = []
    for motion in dict.fromkeys(clip.motion for clip in found.clips.values()):
        some = [o for o in found.outcomes if found.clips[o.trial.clip].motion == motion]
        for method, named in summarise(scene_scores(some), found.settings).intervals.items():
            for name, i in named.items():
                by_motion.append({"motion": motion, "method": method, "metric": name, **i._asdict()})
    columns = ["motion", "method", "metric", "mean", "low", "high", "n"]
    write_table(out / "summary_by_motion.csv", by_motion, columns)
    failures = [
        {"scene": o.trial.clip, "method": o.trial.method, "reason": o.failure}
        for o in found.outcomes
        if o.failure is not None
    ]
    write_table(out / "failures.csv", failures, ["scene", "method", "reason"])


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
    draw_curves(frame_means(found), _keyframes(found), path)
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


def write_films(found: Comparison, cache: Path, out: Path) -> list[Films]:
    """videos/: of the first clips, one video a method, and all side by side."""
    (out / "videos").mkdir()
    made = []
    for clip in list(found.clips.values())[: found.settings.shown]:
        finished = {m: o for m, o in found.of(clip.index).items() if o.metrics is not None}
        if not finished:
            continue
        first = next(iter(finished.values()))
        assert first.metrics is not None
        frames, fps = int(first.metrics["frames"]), int(first.metrics["fps"])
        shown = _references(cache, first)
        shown |= {method: folder(cache, o.trial, "assemble") / "frames" for method, o in finished.items()}
        stem = f"scene_{clip.index:03d}" if found.run is None else "shot"
        side_by_side(shown, frames, fps, COLUMNS, out / "videos" / f"{stem}.mp4")
        films = [
            film(name, place, frames, fps, out / "videos" / f"{stem}_{name}.mp4")
            for name, place in shown.items()
        ]
        title = (
            f"clip {clip.index}: {clip.caption} (moving: {clip.motion})"
            if found.run is None
            else clip.caption
        )
        made.append(Films(title, fps, frames, tuple(first.metrics["keyframes"]), tuple(films)))
    return made


def _references(cache: Path, outcome: Outcome) -> dict[str, Path]:
    """The true video, where it is known, else the coarse render."""
    truth = SceneFolder(folder(cache, outcome.trial, "scene")).true_photos
    if truth is not None:
        return {TRUTH: truth}
    return {"coarse render": RenderFolder(folder(cache, outcome.trial, "render")).folder("rgb")}


def _keyframes(found: Comparison) -> list[int]:
    one = found.finished()
    return list(one.metrics["keyframes"]) if one is not None and one.metrics is not None else []


def _headline(found: Comparison) -> str:
    intervals = found.summary.intervals
    return ", ".join(
        f"{method} {intervals[method]['psnr'].mean:.2f} dB"
        for method in found.methods
        if "psnr" in intervals.get(method, {})
    )
