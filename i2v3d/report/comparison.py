"""A benchmark's trials read back: what was finished, what failed, and the means over clips."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2v3d.benchmark.settings import BenchmarkSettings
from i2v3d.benchmark.trials import Clip, clips_of, read_plan_file, trials_of
from i2v3d.config.sections import build
from i2v3d.errors import ArtifactError
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
    """Everything that is known after a benchmark or a run, finished or not. plan_file: what its planning wrote."""

    plan_file: Path
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

    def sample(self) -> dict[str, Any]:
        """The metrics of some finished trial, for what all have in common. Raises ArtifactError if there is none."""
        one = self.finished()
        if one is None or one.metrics is None:
            raise ArtifactError(
                f"no trial of {self.plan_file} is finished: {self.outcomes[0].failure}; run snakemake again"
            )
        return one.metrics

    @property
    def failed(self) -> list[Outcome]:
        """The trials that did not finish."""
        return [outcome for outcome in self.outcomes if outcome.failure is not None]

    def all_failed(self) -> dict[str, str]:
        """method -> why, of methods that finished on no clip."""
        reasons: dict[str, str] = {}
        for method in self.methods:
            own = [o for o in self.outcomes if o.trial.method == method]
            if all(o.failure is not None for o in own):
                reasons[method] = str(own[0].failure)
        return reasons

    def told(self) -> str:
        """How many trials finished, and their likeness to the true video where it is known."""
        intervals = self.summary.intervals
        best = ", ".join(
            f"{method} {intervals[method]['psnr'].mean:.2f} dB"
            for method in self.methods
            if "psnr" in intervals.get(method, {})
        )
        done = len(self.outcomes) - len(self.failed)
        return f"{done} of {len(self.outcomes)} trials finished" + (f": {best}" if best else "")


def compare(plan_file: Path, cache: Path) -> Comparison:
    """Reads all trials of a plan; those that failed are kept as failed."""
    data = read_plan_file(plan_file)
    settings = build(BenchmarkSettings, data["settings"], "benchmark")
    outcomes = [read_outcome(cache, trial) for trial in trials_of(data)]
    clips = {clip.index: clip for clip in clips_of(data)}
    summary = summarise(scene_scores(outcomes), settings)
    return Comparison(plan_file, settings, clips, data["methods"], outcomes, summary)
