"""What became of every trial: its scores and frames, or at which stage it failed and why."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2v3d.artifacts.metrics_file import read_metrics
from i2v3d.benchmark.trials import Clip, Trial
from i2v3d.errors import ArtifactError
from i2v3d.metrics.catalogue import SCORES
from i2v3d.stages.registry import STAGES
from i2v3d.workflow.failures import find_failures
from i2v3d.workflow.plan import PlannedVariant

TRUTH = "truth"
VIDEO = "video"


@dataclass(frozen=True)
class Outcome:
    """A trial and what it left. metrics: metrics.json; rows: metrics.csv; None and empty if it failed.

    failure: the stage and its last words; None if it is finished.
    """

    trial: Trial
    metrics: dict[str, Any] | None
    rows: tuple[dict[str, str], ...]
    failure: str | None

    def score(self, name: str, clip: str = VIDEO) -> float | None:
        """One number of `clip` (video, keyframes, coarse or truth); None if it has none."""
        if self.metrics is None:
            return None
        value = self.metrics["scores"].get(clip, {}).get(name)
        return None if value is None else float(value)

    def frames(self, name: str, clip: str = VIDEO) -> dict[int, float]:
        """Frame number -> value, of the frames that have one."""
        rows = (row for row in self.rows if row["clip"] == clip)
        return {int(row["frame"]): float(row[name]) for row in rows if row.get(name)}


def folder(cache: Path, trial: Trial, stage: str) -> Path:
    """Where a stage of a trial lies. Raises ArtifactError if the trial has no such stage."""
    if stage not in trial.keys:
        raise ArtifactError(f"method {trial.method} has no stage {stage}; it has {', '.join(trial.keys)}")
    return cache / stage / trial.keys[stage]


def read_outcome(cache: Path, trial: Trial) -> Outcome:
    """The scores of a trial, or its failure. Raises ArtifactError for finished scores that cannot be read."""
    scored = folder(cache, trial, "evaluate")
    if not scored.is_dir():
        return Outcome(trial, None, (), failure(cache, trial))
    metrics = read_metrics(scored)
    try:
        with (scored / "metrics.csv").open(newline="") as file:
            rows = tuple(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise ArtifactError(
            f"{scored} holds no scores ({error}); delete it and run snakemake again"
        ) from error
    return Outcome(trial, metrics, rows, None)


def failure(cache: Path, trial: Trial) -> str:
    """The stage that stopped a trial, and its last words."""
    keys = {stage: trial.keys[stage] for stage in STAGES if stage in trial.keys}
    variant = PlannedVariant(trial.method, trial.overrides, {}, keys, trial.segments)
    found = find_failures([variant], cache)
    return f"{found[0].stage}: {found[0].reason}" if found else "evaluate: not run"


def long_rows(outcomes: Sequence[Outcome], clips: Mapping[int, Clip]) -> Iterator[dict[str, Any]]:
    """A row a clip, method and frame with all scores; the true video is the method `truth`, once a clip."""
    told: set[int] = set()
    for outcome in outcomes:
        clip = clips[outcome.trial.clip]
        wanted = {VIDEO: outcome.trial.method}
        if outcome.metrics is not None and clip.index not in told:
            wanted[TRUTH] = TRUTH
            told.add(clip.index)
        for row in outcome.rows:
            if row["clip"] in wanted:
                yield {
                    "scene": clip.index,
                    "motion": clip.motion,
                    "method": wanted[row["clip"]],
                    "frame": int(row["frame"]),
                    "keyframe": int(row["keyframe"]),
                    **{name: row.get(name, "") for name in SCORES if SCORES[name].over != "whole"},
                }


def late_scores(outcomes: Sequence[Outcome]) -> dict[str, dict[str, dict[int, float]]]:
    """The same as `scene_scores` of the last third of the frames: means over them of scores that frames have."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for outcome in outcomes:
        frames = max((int(row["frame"]) for row in outcome.rows), default=0)
        for name, score in SCORES.items():
            if score.over == "whole":
                continue
            values = [v for frame, v in outcome.frames(name).items() if frame > frames - frames // 3]
            if values:
                of_method = found.setdefault(outcome.trial.method, {}).setdefault(name, {})
                of_method[outcome.trial.clip] = sum(values) / len(values)
    return found


def scene_scores(outcomes: Sequence[Outcome]) -> dict[str, dict[str, dict[int, float]]]:
    """method -> score -> clip number -> value; the true videos as the method `truth`."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for outcome in outcomes:
        for method, clip in ((outcome.trial.method, VIDEO), (TRUTH, TRUTH)):
            values = found.setdefault(method, {})
            for name in SCORES:
                value = outcome.score(name, clip)
                if value is not None:
                    values.setdefault(name, {})[outcome.trial.clip] = value
    return {method: values for method, values in found.items() if values or method != TRUTH}
