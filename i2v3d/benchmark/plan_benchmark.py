"""What `snakemake benchmark` runs: every variant of a sweep on held-out clips."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from i2v3d.benchmark.settings import BenchmarkSettings, load_settings
from i2v3d.benchmark.trials import Planned, plan_trials, sweep_methods, write_once
from i2v3d.config.sections import plain
from i2v3d.errors import ConfigError, nearest
from i2v3d.workflow.plan import write_plan
from i2v3d.workflow.planning import Asked

RUN = "benchmark"


@dataclass(frozen=True)
class BenchmarkPlan:
    """The planned trials."""

    planned: Planned

    def write(self, cache: Path, settings: Path) -> Path:
        """Writes all frozen nodes and what the report needs to find their results; returns the latter's path."""
        write_plan(self.planned.plan, cache, settings)
        return write_once(cache / "plan" / RUN, self.planned.plain())

    def folders(self, cache: Path) -> list[Path]:
        """The finished folders that the report reads."""
        found = [cache / s / t.keys[s] for t in self.planned.trials for s in ("evaluate", "assemble")]
        return list(dict.fromkeys(found))

    def told(self) -> str:
        """How much the variants share."""
        plan = self.planned.plan
        return (
            f"{len(self.planned.methods)} variants on {len(self.planned.clips)} clips: {plan.jobs()} stage jobs, "
            f"{plan.jobs_unshared()} if nothing were shared"
        )


def report_folder(asked: Asked) -> str:
    """Where the report goes: results/benchmark, with the names of what is not the default."""
    parts = [
        RUN,
        *([asked.benchmark] if asked.benchmark != RUN else []),
        *([asked.sweep] if asked.sweep else []),
    ]
    return f"results/{'_'.join(parts)}"


def make_due(page: Path, plan: Path) -> None:
    """Makes the page of an unfinished benchmark older than its plan: snakemake then makes it again, and what it lacks
    before.

    Else it would take a page that is newer than all that is there for the last word.
    """
    if page.exists():
        before = plan.stat().st_mtime - 1
        os.utime(page, (before, before))


def plan_asked(asked: Asked) -> tuple[BenchmarkPlan, Path]:
    """Plans the benchmark that was asked for and writes it; also what `BenchmarkPlan.write` returns.

    Raises ConfigError for settings that do not exist, and as `plan_benchmark`.
    """
    settings = load_settings(asked.conf, "benchmark", asked.benchmark, BenchmarkSettings)
    plan = plan_benchmark(asked.conf, asked.cache, settings, asked.sweep, asked.words)
    return plan, plan.write(asked.cache, asked.settings)


def plan_benchmark(
    conf: Path, cache: Path, settings: BenchmarkSettings, sweep: str | None, words: Sequence[str]
) -> BenchmarkPlan:
    """Composes, validates and checks everything.

    sweep: file of conf/sweep instead of the settings' own. words: the user's own Hydra words, after those of the
    settings. Raises ConfigError if the reference is no variant of the sweep, and what `plan_trials` raises.
    """
    settings = dataclasses.replace(settings, sweep=sweep or settings.sweep)
    methods = sweep_methods(conf, settings.sweep)
    if settings.reference not in methods:
        raise ConfigError(
            f"benchmark.reference is {settings.reference}, no variant of sweep {settings.sweep}; "
            f"{nearest(settings.reference, methods)}"
        )
    planned = plan_trials(
        conf,
        cache,
        run=RUN,
        scenes=settings.scenes,
        first=settings.first,
        clips=settings.clips,
        methods=methods,
        words=[*settings.overrides, *words],
        settings=plain(settings),
    )
    return BenchmarkPlan(planned)
