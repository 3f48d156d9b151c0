"""What the report runs: shots by the method and its rivals, shots that turn the object, and probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from i2v3d.benchmark.trials import Planned, plan_trials, sweep_methods, write_once
from i2v3d.config.bounds import Count, Index
from i2v3d.config.sections import plain, section
from i2v3d.workflow.composition import Composer
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.plan import Node, plan_probe, write_node, write_plan
from miniature.probes import PROBES

RUN = "mini_report"


@section
class ReportSettings:
    """What the miniature family is measured on (conf/report). full, rivals: variants of `sweep`. view_deg: turn of the
    object in the shots that identity is judged by; gallery: objects among which the right one is to be found, itself
    included. aims: metric -> the least it should reach. shown: clips with pictures and videos."""

    scenes: Count
    first: Index
    sweep: str
    full: str
    rivals: Annotated[tuple[str, ...], Field(min_length=1)]
    view_deg: float
    gallery: Annotated[int, Field(ge=2)]
    aims: dict[str, float]
    shown: Count
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class ReportPlan:
    """shots: the method and its rivals on every clip. turned: the method on clips whose object turns further.
    probes: clip number -> its jobs, one of each kind."""

    shots: Planned
    turned: Planned
    probes: dict[int, list[Node]]

    def write(self, cache: Path, settings: Path) -> Path:
        """Writes all frozen nodes and what the report needs to find their results; returns the latter's path."""
        for planned in (self.turned, self.shots):
            write_plan(planned.plan, cache, settings)
        for nodes in self.probes.values():
            for node in nodes:
                write_node(node, cache)
        return write_once(cache / "plan" / RUN, self._plain())

    def folders(self, cache: Path) -> list[Path]:
        """The finished folders that the report reads."""
        found = [
            cache / stage / t.keys[stage] for t in self.shots.trials for stage in ("evaluate", "assemble")
        ]
        found += [
            cache / stage / t.keys[stage] for t in self.turned.trials for stage in ("scene", "keyframes")
        ]
        found += [cache / node.stage / node.key for nodes in self.probes.values() for node in nodes]
        return list(dict.fromkeys(found))

    def _plain(self) -> dict[str, Any]:
        return {
            **self.shots.plain(),
            "turned": self.turned.plain()["trials"],
            "estimator": self.shots.plan.variants[0].config["evaluate"]["estimators"]["toy"],
            "probes": {
                str(clip): {node.stage: node.key for node in nodes} for clip, nodes in self.probes.items()
            },
        }


def plan_report(conf: Path, cache: Path, settings: ReportSettings, words: Sequence[str]) -> ReportPlan:
    """Composes, validates and checks everything. words: the user's own Hydra words, after those of the settings.

    Raises what `plan_trials` raises.
    """
    common = [*settings.overrides, *words]
    methods = sweep_methods(conf, settings.sweep, (settings.full, *settings.rivals))

    def plan(chosen: dict[str, list[str]], *more: str) -> Planned:
        return plan_trials(
            conf,
            cache,
            run=RUN,
            scenes=settings.scenes,
            first=settings.first,
            methods=chosen,
            words=[*common, *more],
            settings=plain(settings),
        )

    shots = plan(methods)
    turned = plan({settings.full: methods[settings.full]}, f"scene.view_deg={settings.view_deg}")
    composer = Composer(conf, cache / "plan" / "compositions")
    prints = Fingerprints(cache / "plan" / "fingerprints.json")
    probes = {}
    for clip in shots.clips:
        own = ["scene=toy", f"run={RUN}", *common, f"scene.index={clip.index}"]
        # One segment that moves as far as the clips of the training.
        own += ["scene.frames=${interpolate.segment_frames}", "scene.pace=1"]
        config = composer.variant(RUN, own).config
        probes[clip.index] = [plan_probe(stage, config, prints) for stage in PROBES.values()]
    prints.save()
    return ReportPlan(shots, turned, probes)
