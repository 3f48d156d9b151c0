"""What became of the variants of a run that did not finish: the stage that stopped them, and its log."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from i2v3d.artifacts.shares import Share
from i2v3d.logs import reason
from i2v3d.stages.registry import STAGES
from i2v3d.workflow.plan import Plan, PlannedVariant, stage_dirs

FILE = "failures.csv"
NOT_STARTED = "was not started"
KILLED = "was killed or left no word"


@dataclass(frozen=True)
class Failure:
    """A variant that has no result. stage: what stopped it, with its segment; reason: the job's own words;
    log: the log's path, with the traceback."""

    variant: str
    stage: str
    reason: str
    log: str


def find_failures(variants: Sequence[PlannedVariant], cache: Path) -> list[Failure]:
    """One for each variant that is not finished, in their order.

    Of a variant's unfinished jobs the first one that left a log is named, since later ones wait for it.
    """
    found = []
    for variant in variants:
        jobs = list(_unfinished(variant, cache))
        if jobs:
            stage, log = next((job for job in jobs if job[1].is_file()), jobs[0])
            found.append(Failure(variant.name, stage, _reason(log), str(log)))
    return found


def write_failures(failures: Sequence[Failure], folder: Path) -> None:
    """Writes failures.csv, a row a failed variant; with none, removes an earlier one."""
    if not failures:
        (folder / FILE).unlink(missing_ok=True)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("w", newline="") as file:
        rows = csv.DictWriter(file, [field.name for field in fields(Failure)])
        rows.writeheader()
        rows.writerows(asdict(failure) for failure in failures)


def tell_failures(plan: Plan, cache: Path) -> list[str]:
    """A line for each variant without a result and one that counts them; kept in results/<run>/failures.csv too."""
    failures = find_failures(plan.variants, cache)
    write_failures(failures, Path("results", plan.run))
    lines = [f"variant {f.variant} has no result: {f.stage}: {f.reason} (log: {f.log})" for f in failures]
    if failures:
        done, all_of_them = len(plan.variants) - len(failures), len(plan.variants)
        lines.append(f"{done} of {all_of_them} variants are finished; see results/{plan.run}/{FILE}")
    return lines


def read_failures(folder: Path) -> list[Failure]:
    """The failures of the last run into `folder`, results/<run>; none if all its variants finished."""
    path = folder / FILE
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [Failure(**row) for row in csv.DictReader(file)]


def _unfinished(variant: PlannedVariant, cache: Path) -> list[tuple[str, Path]]:
    """(stage, log) of every job of a variant that has no finished folder, in the order of the graph."""
    jobs = []
    for stage, key in variant.keys.items():
        for segment, folder in enumerate(stage_dirs(cache, stage, key, variant.segments, None)):
            if not folder.is_dir():
                number = f"-{segment:03d}" if STAGES[stage].per_segment else ""
                name = f"{stage} segment {segment}" if number else stage
                own = name, cache / "log" / stage / f"{key}{number}.log"
                jobs += sorted([own, *_shares(stage, folder, own[1])], key=_age)
    return jobs


def _shares(stage: str, folder: Path, log: Path) -> list[tuple[str, Path]]:
    """(stage, log) of every share that is to become a part of a folder and was begun. log: of the folder's own job."""
    found = []
    for path in log.parent.glob(f"{log.stem}-share-*.log"):
        share = Share.read(path.stem.removeprefix(f"{log.stem}-share-"))
        if not share.folder(folder).is_dir():
            found.append((f"{stage} share {share}", path))
    return found


def _age(job: tuple[str, Path]) -> float:
    """Puts the log that was written last before others, and those before what has none."""
    return -job[1].stat().st_mtime if job[1].is_file() else 0.0


def _reason(log: Path) -> str:
    """Why a job has no result, as its log says it."""
    if not log.is_file():
        return NOT_STARTED
    return (reason(log) or KILLED)[:300]
