"""What became of the variants of a run that did not finish: the stage that stopped them, and its log."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from i2v3d.stages.registry import STAGES
from i2v3d.workflow.plan import PlannedVariant, stage_dirs

FILE = "failures.csv"
NOT_STARTED = "was not started"


@dataclass(frozen=True)
class Failure:
    """A variant that has no result. stage: what stopped it, with its segment; reason: the log's last words;
    log: the log's path."""

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
            found.append(Failure(variant.name, stage, _last_words(log), str(log)))
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
                jobs.append((name, cache / "log" / stage / f"{key}{number}.log"))
    return jobs


def _last_words(log: Path) -> str:
    """The last line of a log: of a failed stage the error's own message."""
    if not log.is_file():
        return NOT_STARTED
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "was killed or left no word"
