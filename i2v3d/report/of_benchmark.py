"""results/benchmark: rows, means with intervals, plots, videos and a page, of whatever was finished."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from i2v3d.benchmark.trials import Clip
from i2v3d.metrics.catalogue import SCORES
from i2v3d.report.comparison import Comparison, compare
from i2v3d.report.films import write_films
from i2v3d.report.markdown import tables_markdown
from i2v3d.report.outcomes import late_scores, long_rows, scene_scores
from i2v3d.report.page import Failure, Page, Table, code_version
from i2v3d.report.plots import write_plots
from i2v3d.report.summary import Summary, summarise, write_intervals, write_table
from i2v3d.report.tables import gain_table, group_tables, score_notes

log = logging.getLogger(__name__)


def write_benchmark(plan_file: Path, cache: Path, out: Path) -> None:
    """Writes everything into the empty folder `out`. Raises ArtifactError if no trial was finished at all."""
    found = compare(plan_file, cache)
    metrics = found.sample()
    late = _late(found)
    tables = page_tables(found, late)
    write_tables(found, late, out)
    (out / "summary.md").write_text(tables_markdown(tables))
    Page(
        title="Benchmark on clips with known truth",
        intro=_intro(found),
        tables=tables,
        films=write_films(found, cache, out, _named),
        plots=write_plots(found, out),
        failures=[Failure(o.trial.method, f"clip {o.trial.clip}", str(o.failure)) for o in found.failed],
        scores=score_notes(found.scores, metrics["estimators"]),
        skipped=list(metrics["skipped"].items()),
        made=[code_version(), f"Clips: {', '.join(str(clip) for clip in found.clips)}."],
        commands=[f"snakemake --cores all --keep-going benchmark --config sweep={found.settings.sweep}"],
    ).write(out / "report.html")
    log.info("%s", found.told())


def write_tables(found: Comparison, late: Summary, out: Path) -> None:
    """rows.csv, scenes.csv, summary.csv, gains.csv, both of the last third of the frames, summary_by_motion.csv and
    failures.csv."""
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
    write_intervals(out / "summary_last_third.csv", late.intervals)
    write_intervals(out / "gains_last_third.csv", late.gains)
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


def _named(clip: Clip) -> tuple[str, str]:
    return f"scene_{clip.index:03d}", f"clip {clip.index}: {clip.caption} (moving: {clip.motion})"


def page_tables(found: Comparison, late: Summary) -> list[Table]:
    """A table a group of scores, and what the reference gains."""
    percent = f"{100 * found.settings.confidence:g} %"
    tables = group_tables(found, f"Means over clips with {percent} intervals; the")
    gains = (_gains(found, found.summary), _gains(found, late, late=True))
    return [*tables, *(table for table in gains if table.rows)]


def _late(found: Comparison) -> Summary:
    """Of the last third of the frames, where a video has gone on from its own frames the longest."""
    return summarise(late_scores(found.outcomes), found.settings)


def _gains(found: Comparison, summary: Summary, *, late: bool = False) -> Table:
    reference = found.settings.reference
    there = {name for named in summary.gains.values() for name in named}
    return gain_table(
        summary,
        [name for name in found.scores if SCORES[name].better != "truth" and name in there],
        anchor="gains-late" if late else "gains",
        title=f"What {reference} gains"
        + (" in the last third of the frames" if late else "")
        + ", clip by clip",
        caption=f"{reference} minus the variant of the line on the same clip, mean and interval; green where the "
        f"whole interval speaks for {reference}.",
    )


def _intro(found: Comparison) -> list[str]:
    kinds = Counter(clip.motion for clip in found.clips.values())
    what = ", ".join(f"{count} with {kind} moving" for kind, count in kinds.items())
    others = [method for method in found.methods if method != found.settings.reference]
    lines = [
        f"{len(found.methods)} variants on {len(found.clips)} held-out clips of the toy world ({what}). The true "
        "video of every clip is known; all variants get its first frame, the photo, beside the coarse render.",
        f"Compared with {found.settings.reference}: {', '.join(others) or 'nothing'}.",
    ]
    failed = f"{len(found.failed)} of {len(found.outcomes)} shots failed; see below."
    return [*lines, failed] if found.failed else lines
