"""A benchmark's trials read back: what was finished, what failed, and the means over clips."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from i2v3d.benchmark.settings import BenchmarkSettings
from i2v3d.benchmark.trials import Clip, clips_of, read_plan_file, trials_of
from i2v3d.config.sections import build
from i2v3d.metrics.catalogue import SCORES
from i2v3d.report.outcomes import Outcome, read_outcome, scene_scores
from i2v3d.report.summary import Summary, summarise

# Group of scores -> title and caption.
GROUPS = {
    "truth": ("How close to the true video", "Against the true video, pixel by pixel."),
    "control": (
        "How well the control is kept",
        "Against what the render prescribes; the true video's own value says what these estimators reach at best.",
    ),
    "time": (
        "How steady in time",
        "Over time; the true video's own value shows how much of it is honest motion.",
    ),
    "identity": (
        "How much the object stays itself",
        "The object against that of the photo; the true video's own value says what the estimator reaches at best.",
    ),
}


@dataclass(frozen=True)
class Comparison:
    """Everything that is known after a benchmark or a run, finished or not. run: name of a run on one shot, None for
    a benchmark."""

    run: str | None
    settings: BenchmarkSettings
    clips: dict[int, Clip]
    methods: list[str]
    outcomes: list[Outcome]
    summary: Summary

    @property
    def scores(self) -> list[str]:
        """The scores that some method has, in the catalogue's order."""
        there = {name for found in self.summary.intervals.values() for name in found}
        return [name for name in SCORES if name in there]

    def of(self, clip: int) -> dict[str, Outcome]:
        """method -> outcome of one clip."""
        return {o.trial.method: o for o in self.outcomes if o.trial.clip == clip}

    def finished(self) -> Outcome | None:
        """Some finished trial."""
        return next((o for o in self.outcomes if o.metrics is not None), None)


def compare(plan_file: Path, cache: Path) -> Comparison:
    """Reads all trials of a plan; those that failed are kept as failed."""
    data = read_plan_file(plan_file)
    settings = build(BenchmarkSettings, data["settings"], "benchmark")
    outcomes = [read_outcome(cache, trial) for trial in trials_of(data)]
    clips = {clip.index: clip for clip in clips_of(data)}
    summary = summarise(scene_scores(outcomes), settings)
    return Comparison(data.get("run"), settings, clips, data["methods"], outcomes, summary)
