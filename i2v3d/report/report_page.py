"""The page of a benchmark: tables, plots, videos, failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from i2v3d.metrics.catalogue import SCORES
from i2v3d.report.comparison import GROUPS, Comparison
from i2v3d.report.page import (
    Failure,
    Films,
    Page,
    Plot,
    Table,
    code_version,
    gain_table,
    score_notes,
    score_table,
)


def write_page(found: Comparison, plots: Sequence[Plot], films: Sequence[Films], path: Path) -> None:
    """Writes the page of a comparison of which at least one trial was finished."""
    one = found.finished()
    assert one is not None and one.metrics is not None
    failures = [
        Failure(o.trial.method, f"clip {o.trial.clip}" if found.run is None else "this shot", o.failure)
        for o in found.outcomes
        if o.failure is not None
    ]
    Page(
        title="Benchmark on clips with known truth" if found.run is None else f"Run {found.run}",
        intro=_intro(found, len(failures)) if found.run is None else _intro_of_run(found, len(failures)),
        tables=page_tables(found),
        films=list(films),
        plots=list(plots),
        failures=failures,
        scores=score_notes(found.scores, one.metrics["estimators"]),
        skipped=list(one.metrics["skipped"].items()),
        made=[code_version(), *_made(found)],
        commands=[]
        if found.run
        else [f"snakemake --cores all --keep-going benchmark --config sweep={found.settings.sweep}"],
    ).write(path)


def _made(found: Comparison) -> list[str]:
    """What every variant changed."""
    if found.run is None:
        return [f"Clips: {', '.join(str(clip) for clip in found.clips)}."]
    return [f"{o.trial.method}: {' '.join(o.trial.overrides) or 'the defaults'}" for o in found.outcomes]


def _intro_of_run(found: Comparison, failures: int) -> list[str]:
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
    return [*lines, f"{failures} of {len(found.outcomes)} variants failed; see below."] if failures else lines


def page_tables(found: Comparison) -> list[Table]:
    """A table a group of scores and, of a benchmark, what the reference gains."""
    percent = f"{100 * found.settings.confidence:g} %"
    tables = []
    for group, (title, caption) in GROUPS.items():
        names = [name for name in found.scores if SCORES[name].group == group]
        if names:
            means = f"Means over clips with {percent} intervals; the" if found.run is None else "The"
            legend = f"{caption} {means} best of a column is green. Each head says which direction is better."
            words = {"anchor": group, "title": title, "caption": legend}
            tables.append(score_table(found.summary, found.methods, names, _all_failed(found), **words))
    gains = _gains(found)
    return [*tables, gains] if gains.rows and found.run is None else tables


def _gains(found: Comparison) -> Table:
    reference = found.settings.reference
    return gain_table(
        found.summary,
        [name for name in found.scores if SCORES[name].better != "truth"],
        anchor="gains",
        title=f"What {reference} gains, clip by clip",
        caption=f"{reference} minus the variant of the line on the same clip, mean and interval; green where the "
        f"whole interval speaks for {reference}.",
    )


def _intro(found: Comparison, failures: int) -> list[str]:
    kinds = Counter(clip.motion for clip in found.clips.values())
    what = ", ".join(f"{count} with {kind} moving" for kind, count in kinds.items())
    others = [method for method in found.methods if method != found.settings.reference]
    lines = [
        f"{len(found.methods)} variants on {len(found.clips)} held-out clips of the toy world ({what}). The true "
        "video of every clip is known; all variants get its first frame, the photo, beside the coarse render.",
        f"Compared with {found.settings.reference}: {', '.join(others) or 'nothing'}.",
    ]
    return [*lines, f"{failures} of {len(found.outcomes)} shots failed; see below."] if failures else lines


def _all_failed(found: Comparison) -> dict[str, str]:
    """method -> why, of methods that finished on no clip."""
    reasons: dict[str, str] = {}
    for method in found.methods:
        own = [o for o in found.outcomes if o.trial.method == method]
        if all(o.failure is not None for o in own):
            reasons[method] = str(own[0].failure)
    return reasons
