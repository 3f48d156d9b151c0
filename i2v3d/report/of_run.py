"""results/<run>/comparison.html and .csv: the variants of a run on one shot, whichever scene it shows."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from i2v3d.benchmark.trials import Clip, read_plan_file
from i2v3d.metrics.catalogue import SCORES
from i2v3d.report.comparison import Comparison, compare
from i2v3d.report.films import write_films
from i2v3d.report.page import Failure, Page, code_version
from i2v3d.report.plots import write_plots
from i2v3d.report.summary import write_intervals
from i2v3d.report.tables import group_tables, score_notes

log = logging.getLogger(__name__)


def write_run(plan_file: Path, cache: Path, out: Path) -> None:
    """Writes the page, which holds its plots and videos, and the table. Raises ArtifactError if no variant finished."""
    found = compare(plan_file, cache)
    metrics = found.sample()
    with tempfile.TemporaryDirectory(prefix="i2v3d-") as temporary:
        work = Path(temporary)
        Page(
            title=f"Run {read_plan_file(plan_file)['run']}",
            intro=_intro(found),
            tables=group_tables(found, "The"),
            films=write_films(found, cache, work, _named),
            plots=write_plots(found, work),
            failures=[Failure(o.trial.method, "this shot", str(o.failure)) for o in found.failed],
            scores=score_notes(found.scores, metrics["estimators"]),
            skipped=list(metrics["skipped"].items()),
            made=[code_version(), *_changes(found)],
        ).write(out / "comparison.html")
    write_intervals(out / "comparison.csv", found.summary.intervals)
    log.info("%s", found.told())


def _named(clip: Clip) -> tuple[str, str]:
    return "shot", clip.caption


def _changes(found: Comparison) -> list[str]:
    """What every variant changed."""
    return [f"{o.trial.method}: {' '.join(o.trial.overrides) or 'the defaults'}" for o in found.outcomes]


def _intro(found: Comparison) -> list[str]:
    (clip,) = found.clips.values()
    known = any(SCORES[name].group == "truth" for name in found.scores)
    lines = [
        f"{len(found.methods)} variant{'s' if len(found.methods) > 1 else ''} of one shot: {clip.caption}. "
        + (
            "Its true video is known."
            if known
            else "Nobody knows its true video, so no score compares with it."
        ),
        "One shot has no confidence interval: snakemake benchmark compares variants on many.",
    ]
    failed = f"{len(found.failed)} of {len(found.outcomes)} variants failed; see below."
    return [*lines, failed] if found.failed else lines
