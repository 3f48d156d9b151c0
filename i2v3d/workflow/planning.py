"""From what a user asked of snakemake to a written plan: composed, validated, checked, frozen."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2v3d.errors import ConfigError, nearest
from i2v3d.stages.registry import STAGES
from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.plan import Plan, make_plan, settings_path, write_plan
from i2v3d.workflow.preflight import check_plan

OPTIONS = ("overrides", "sweep", "multirun", "cache", "benchmark")


@dataclass(frozen=True)
class Asked:
    """What `snakemake --config` says. conf: folder of the configuration; cache: of the results; words: Hydra's;
    sweep: file of conf/sweep; multirun: whether the words hold sweeps; benchmark: file of conf/benchmark; settings:
    where the plan puts what its jobs need beside their nodes."""

    conf: Path
    cache: Path
    words: tuple[str, ...]
    sweep: str | None
    multirun: bool
    benchmark: str
    settings: Path

    @staticmethod
    def read(config: Mapping[str, Any], conf: Path) -> Asked:
        """Raises ConfigError for an option that does not exist."""
        for name in config:
            if name not in OPTIONS:
                raise ConfigError(f"--config {name} is unknown; {nearest(str(name), OPTIONS)}")
        words = config.get("overrides", [])
        cache = Path(config.get("cache", "results/.cache"))
        return Asked(
            conf=conf,
            cache=cache,
            words=tuple(shlex.split(words) if isinstance(words, str) else map(str, words)),
            sweep=config.get("sweep"),
            multirun=str(config.get("multirun", False)).lower() == "true",
            benchmark=config.get("benchmark", "benchmark"),
            settings=settings_path(cache, config),
        )


def plan_run(asked: Asked, stages: Sequence[str] = tuple(STAGES)) -> Plan:
    """Composes, validates, checks and writes the plan of `stages`; nothing is written of a plan with a mistake.

    Raises ConfigError, InputError, WeightsError or MachineError as `make_plan` and `check_plan`.
    """
    memo = asked.cache / "plan" / "compositions"
    variants = compose_variants(asked.conf, asked.words, asked.sweep, asked.multirun, memo)
    fingerprints = Fingerprints(asked.cache / "plan" / "fingerprints.json")
    plan = make_plan(variants, fingerprints, stages)
    check_plan(plan, asked.cache)
    fingerprints.save()
    write_plan(plan, asked.cache, asked.settings)
    return plan


def planned_memory_mb(settings: Path) -> int:
    """Megabytes that a job with networks asks for, as the plan wrote it."""
    return int(json.loads(settings.read_text())["runtime"]["memory_mb"])
