"""The variants of a run on one shot, for the page that compares them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from i2v3d.benchmark.settings import BenchmarkSettings, load_settings
from i2v3d.benchmark.trials import Clip, Planned, Trial, write_once
from i2v3d.config.sections import plain
from i2v3d.workflow.plan import Plan


def write_run(conf: Path, cache: Path, plan: Plan) -> Path:
    """Writes what the page of a run needs to find its results; returns the path.

    Variants on different scenes are compared side by side all the same.
    """
    names = [variant.name for variant in plan.variants]
    settings = load_settings(conf, "benchmark", "benchmark", BenchmarkSettings)
    settings = dataclasses.replace(settings, reference=names[0])
    scene = plan.variants[0].config["scene"]
    clip = Clip(0, "", f"{scene['name']}, {scene['prompt']}")
    trials = tuple(Trial(0, v.name, dict(v.keys), v.segments, v.overrides) for v in plan.variants)
    planned = Planned(plain(settings), (clip,), tuple(names), trials, plan)
    return write_once(cache / "plan" / "comparisons", {**planned.plain(), "run": plan.run})


def run_folders(cache: Path, plan: Plan) -> list[Path]:
    """The finished folders that the page reads."""
    found = [cache / s / v.keys[s] for v in plan.variants for s in ("evaluate", "assemble")]
    return list(dict.fromkeys(found))
