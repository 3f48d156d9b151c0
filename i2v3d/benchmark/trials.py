"""From settings to trials: every method on every clip, as planned variants that share what they have in common."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from i2v3d.artifacts.files import write_text
from i2v3d.errors import ArtifactError, ConfigError, nearest
from i2v3d.toy.world.held_out import balanced_clips, chosen_clips, held_out_caption
from i2v3d.workflow.composition import Composer, Variant
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.plan import Plan, PlannedVariant, make_plan
from i2v3d.workflow.preflight import check_plan
from i2v3d.workflow.sweeps import read_sweep


@dataclass(frozen=True)
class Clip:
    """A held-out clip: its number, what moves in it, what it shows."""

    index: int
    motion: str
    caption: str


@dataclass(frozen=True)
class Trial:
    """One method on one clip. keys: stage -> key; segments: how many the shot has; overrides: Hydra words."""

    clip: int
    method: str
    keys: dict[str, str]
    segments: int
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Planned:
    """A comparison: its settings (plain data), clips and trials, the methods in order, and the planned stages."""

    settings: dict[str, Any]
    clips: tuple[Clip, ...]
    methods: tuple[str, ...]
    trials: tuple[Trial, ...]
    plan: Plan

    def plain(self) -> dict[str, Any]:
        """What a summary needs, as plain data."""
        return {
            "settings": self.settings,
            "clips": [asdict(clip) for clip in self.clips],
            "methods": list(self.methods),
            "trials": [asdict(trial) for trial in self.trials],
        }


def write_once(folder: Path, data: dict[str, Any]) -> Path:
    """Writes plain data as JSON, named by its contents, by rename; returns the path."""
    text = json.dumps(data, indent=1, sort_keys=True) + "\n"
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
    try:
        whole = path.read_text() == text
    except (OSError, ValueError):
        whole = False
    if not whole:
        write_text(path, text)
    return path


def read_plan_file(path: Path) -> dict[str, Any]:
    """What `write_once` wrote. Raises ArtifactError if it cannot be read."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} is no plan of a comparison ({error}); run snakemake again") from error


def clips_of(data: dict[str, Any]) -> list[Clip]:
    """The clips of a plan file."""
    return [Clip(**clip) for clip in data["clips"]]


def trials_of(data: dict[str, Any]) -> list[Trial]:
    """The trials of a plan file."""
    return [Trial(**{**trial, "overrides": tuple(trial["overrides"])}) for trial in data["trials"]]


def sweep_methods(conf: Path, sweep: str, wanted: Iterable[str] = ()) -> dict[str, list[str]]:
    """Variants of conf/sweep/<sweep>.yaml with their overrides: all, or those that are wanted.

    Raises ConfigError for a sweep or a variant that does not exist.
    """
    named = read_sweep(conf, sweep)
    for name in wanted:
        if name not in named:
            raise ConfigError(f"variant {name} is not in sweep {sweep}; {nearest(name, named)}")
    return {name: named[name] for name in wanted} if wanted else named


def plan_trials(
    conf: Path,
    cache: Path,
    *,
    run: str,
    scenes: int,
    first: int,
    clips: Sequence[int] | None = None,
    methods: dict[str, list[str]],
    words: Sequence[str],
    settings: dict[str, Any],
) -> Planned:
    """Composes and validates every method on every clip, and checks the machine and the inputs.

    run: group name in the tracker. scenes, first: as many clips from there on; clips: these instead. words: Hydra words
    of all trials, before each method's own. Raises ConfigError, InputError, WeightsError or MachineError as planning a
    run does.
    """
    composer = Composer(conf, cache / "plan" / "compositions")
    common = ["scene=toy", f"run={run}", *words]
    world = composer.variant("world", common).config["scene"]
    seed, variety = world["seed"], world["variants"]
    if clips is None:
        found = balanced_clips(seed, variety, first, scenes)
    else:
        found = chosen_clips(seed, variety, clips)
    shown = [Clip(i, m, held_out_caption(seed, variety, i)) for i, m in found.items()]
    named = [
        composer.variant(method, [*common, *own, f"scene.index={shown[0].index}"])
        for method, own in methods.items()
    ]
    variants = [on_clip(variant, shown[0], clip) for clip in shown for variant in named]
    of = [clip.index for clip in shown for _ in named]
    fingerprints = Fingerprints(cache / "plan" / "fingerprints.json")
    plan = make_plan(variants, fingerprints)
    check_plan(plan, cache)
    fingerprints.save()
    trials = tuple(_trial(index, variant) for index, variant in zip(of, plan.variants, strict=True))
    return Planned(settings, tuple(shown), tuple(methods), trials, plan)


def on_clip(variant: Variant, composed: Clip, wanted: Clip) -> Variant:
    """A variant that was composed for one clip, for another one: Hydra would take minutes for hundreds.

    Clips differ in their number and in the caption, which prompts repeat.
    """

    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: replaced(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [replaced(inner) for inner in value]
        return value.replace(composed.caption, wanted.caption) if isinstance(value, str) else value

    config = replaced(variant.config)
    config["scene"]["index"] = wanted.index
    words = (*variant.overrides[:-1], f"scene.index={wanted.index}")
    return Variant(variant.name, words, config)


def _trial(index: int, variant: PlannedVariant) -> Trial:
    return Trial(index, variant.name, dict(variant.keys), variant.segments, variant.overrides)
