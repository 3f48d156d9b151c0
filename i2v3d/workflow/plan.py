"""From variants to a graph of content-addressed nodes.

A node is one stage with its frozen configuration. Its key is a hash of the stage's name and version,
its configuration, the contents of the files it names, and the keys of the nodes before it: equal keys
mean equal results, so variants share whatever they have in common. Nodes are written once, as
<cache>/plan/<stage>/<key>.json, and are all that a job reads; editing conf/ during a run hurts nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from i2v3d.artifacts.files import write_json
from i2v3d.artifacts.folders import check_clip_frames, keyframe_numbers, segment_name
from i2v3d.config.runtime import RuntimeConfig, TrackingConfig
from i2v3d.config.sections import build, plain
from i2v3d.errors import ArtifactError, ConfigError, nearest
from i2v3d.progress import track
from i2v3d.stages.registry import STAGES
from i2v3d.stages.stage import Stage
from i2v3d.workflow.composition import SILENT_S, Variant
from i2v3d.workflow.confinement import check_confined
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.segment_seeds import with_lenders
from i2v3d.workflow.selection import needed_stages, segment_frames, stage_config, validate_sections
from i2v3d.workflow.silent_options import without_silent

log = logging.getLogger(__name__)

PREVIEWED = ("scene", "render")  # the stages before any network of the models


@dataclass(frozen=True)
class Node:
    """One stage of one or more variants. upstream: stage name -> key. segments: how many it makes or reads, else 1.
    lent: of segments that another node of the stage makes just so, that node's key (i2v3d.workflow.segment_seeds)."""

    stage: str
    key: str
    version: int
    config: dict[str, Any]
    files: dict[str, str]
    upstream: dict[str, str]
    segments: int
    lent: dict[str, str] = dataclasses.field(default_factory=dict)

    @staticmethod
    def load(path: Path) -> Node:
        """Reads a node file. Raises ArtifactError if it is missing or not one."""
        try:
            return Node(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise ArtifactError(
                f"{path} is not a plan node ({error}); run snakemake again to re-plan"
            ) from error


@dataclass(frozen=True)
class PlannedVariant:
    """A variant and the key of each of its stages. name_hash names its frozen file in the cache."""

    name: str
    overrides: tuple[str, ...]
    config: dict[str, Any]
    keys: dict[str, str]
    segments: int

    @property
    def digest(self) -> str:
        """Names the frozen variant file: changes whenever anything of the variant does."""
        return _digest(asdict(self))


@dataclass(frozen=True)
class Plan:
    """A run: its variants, and every distinct node that they need."""

    run: str
    variants: tuple[PlannedVariant, ...]
    nodes: tuple[Node, ...]
    runtime: RuntimeConfig
    tracking: TrackingConfig

    def variant_file(self, cache: Path, run: str, name: str) -> str:
        """Path of the frozen file of a variant. Raises ConfigError for another run or an unknown variant."""
        return str(variant_path(cache, self._variant(run, name)))

    def folders(self, cache: Path, run: str, name: str) -> list[str]:
        """Paths of every finished folder of a variant, stage by stage. Raises ConfigError as `variant_file`."""
        variant = self._variant(run, name)
        return [
            str(folder)
            for stage, key in variant.keys.items()
            for folder in stage_dirs(cache, stage, key, variant.segments, None)
        ]

    def check_run(self, run: str) -> None:
        """Raises ConfigError if something of a run of another name is asked for."""
        if run != self.run:
            raise ConfigError(
                f"results/{run} is asked for, but this run is called {self.run}; add run={run} to the overrides, or "
                f"ask for results/{self.run}"
            )

    def _variant(self, run: str, name: str) -> PlannedVariant:
        self.check_run(run)
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise ConfigError(f"this run has no variant {name}; {nearest(name, [v.name for v in self.variants])}")

    def jobs(self) -> int:
        """Number of stage jobs if nothing were cached: segments count one by one."""
        return sum(n.segments if STAGES[n.stage].per_segment else 1 for n in self.nodes)

    def told(self) -> str:
        """In a line, how much work sharing saves."""
        need, alone = self.jobs(), self.jobs_unshared()
        return (
            f"{len(self.variants)} variants need {need} stage jobs, of {alone} if each ran all of its stages "
            f"itself ({need / alone:.0%})"
        )

    def jobs_unshared(self) -> int:
        """Number of stage jobs if variants shared nothing."""
        return sum(v.segments if STAGES[stage].per_segment else 1 for v in self.variants for stage in v.keys)


def make_plan(
    variants: Sequence[Variant], fingerprints: Fingerprints, stages: Sequence[str] = tuple(STAGES)
) -> Plan:
    """Validates every section of every variant and derives nodes and keys of `stages`.

    stages: in order, with all that they need; of these, a variant gets those that it needs itself. Only if one
    of them works on segments must the shot's length fit segments. Raises ConfigError for an unknown, missing
    or wrong value, InputError or WeightsError for a file that a key depends on and that is not there.
    """
    nodes: dict[tuple[str, str], Node] = {}
    planned = []
    for variant in track(variants, desc="planning", unit="variant", after_s=SILENT_S):
        validate_sections(variant.config)
        if variant.config["untrusted_scene"]:  # its files were looked at before they were composed
            check_confined(variant.config["scene"])
        segments = _segments(variant.config, needed=any(STAGES[name].per_segment for name in stages))
        keys: dict[str, str] = {}
        for stage in (stage for stage in needed_stages(variant.config) if stage.name in stages):
            node = _node(stage, variant.config, keys, segments, fingerprints)
            again = partial(_node, stage, keys=keys, segments=segments, prints=fingerprints)
            for one in with_lenders(node, again, variant.config):
                nodes[stage.name, one.key] = one
            keys[stage.name] = node.key
        planned.append(PlannedVariant(variant.name, variant.overrides, variant.config, keys, segments))
    first = variants[0].config
    return Plan(
        run=_run(variants),
        variants=tuple(planned),
        nodes=tuple(nodes.values()),
        runtime=_runtime(variants),
        tracking=build(TrackingConfig, first["tracking"], "tracking"),
    )


def _run(variants: Sequence[Variant]) -> str:
    """The name of the run that all variants belong to."""
    names = list(dict.fromkeys(str(variant.config["run"]) for variant in variants))
    if len(names) > 1:
        raise ConfigError(
            f"the variants call their run {' and '.join(names[:3])}; a run has one name, give each its own command"
        )
    return names[0]


def _runtime(variants: Sequence[Variant]) -> RuntimeConfig:
    """The first variant's; the memory is what the one that needs most asks for, since variants share jobs."""
    found = [build(RuntimeConfig, variant.config["runtime"], "runtime") for variant in variants]
    return dataclasses.replace(found[0], memory_mb=max(runtime.memory_mb for runtime in found))


def write_plan(plan: Plan, cache: Path, settings: Path) -> None:
    """Writes every node and variant once, by rename; existing files stay as they are, time stamps included.

    `settings` gets what may differ between runs of equal nodes: the run's name, runtime and tracking.
    """
    for node in plan.nodes:
        write_node(node, cache)
    for variant in plan.variants:
        _write(variant_path(cache, variant), asdict(variant) | {"run": plan.run}, keep=True)
    how = {"run": plan.run, "runtime": plain(plan.runtime), "tracking": plain(plan.tracking)}
    _write(settings, how, keep=False)


def settings_path(own: Path, words: Mapping[str, Any]) -> Path:
    """Where a run's settings lie in a folder of its own: named by snakemake's words, so that its jobs find them."""
    return own / "plan" / "runs" / f"{_digest({k: str(v) for k, v in words.items()})}.json"


def node_path(cache: Path, stage: str, key: str) -> Path:
    """Where a node's frozen file lies."""
    return cache / "plan" / stage / f"{key}.json"


def variant_path(cache: Path, variant: PlannedVariant) -> Path:
    """Where a variant's frozen file lies."""
    return cache / "plan" / "variants" / f"{variant.digest}.json"


def read_variant(path: Path) -> dict[str, Any]:
    """A variant's frozen file, with the name of its run. Raises ArtifactError if it is missing or not one."""
    try:
        found = json.loads(path.read_text())
        PlannedVariant(**{name: value for name, value in found.items() if name != "run"})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{path} is not a planned variant ({error}); run snakemake again to re-plan"
        ) from error
    return dict(found)


def plan_probe(stage: Stage, config: Mapping[str, Any], prints: Fingerprints) -> Node:
    """The node of a job that reads no other stage. Raises ConfigError, InputError and WeightsError as `make_plan`."""
    validate_sections(config)
    return _node(stage, config, {}, 1, prints)


def write_node(node: Node, cache: Path) -> None:
    """Writes a node's frozen file once."""
    _write(node_path(cache, node.stage, node.key), asdict(node), keep=True)


def stage_dirs(cache: Path, stage: str, key: str, segments: int, segment: int | None) -> list[Path]:
    """The finished folders of a node: one, or one a segment (only `segment`'s if that is given)."""
    base = cache / stage / key
    if not STAGES[stage].per_segment:
        return [base]
    wanted = range(segments) if segment is None else [segment]
    return [base / segment_name(s) for s in wanted]


def upstream_dirs(cache: Path, node: Node, segment: int | None) -> list[Path]:
    """The folders that a node's job (of one segment) reads, in the order of `node.upstream`.

    A chained segment's own stage comes last: the folder of the segment before it.
    """
    if segment is not None and str(segment) in node.lent:
        return stage_dirs(cache, node.stage, node.lent[str(segment)], node.segments, segment)
    found: list[Path] = []
    for stage, key in node.upstream.items():
        found += stage_dirs(cache, stage, key, node.segments, segment)
    if segment and STAGES[node.stage].is_chained(node.config):
        found += stage_dirs(cache, node.stage, node.key, node.segments, segment - 1)
    return found


def _node(
    stage: Stage, config: Mapping[str, Any], keys: Mapping[str, str], segments: int, prints: Fingerprints
) -> Node:
    cut = stage_config(stage, config)
    files = {path: prints.of(path, stage.full_name(what)) for path, what in stage.named_files(cut)}
    reads = {*stage.reads(cut), *stage.also}
    upstream = {name: key for name, key in keys.items() if name in reads}
    if not (stage.per_segment or any(STAGES[name].per_segment for name in upstream)):
        segments = 1  # a scene is the same however its shot is cut
    identity: dict[str, Any] = {
        "stage": stage.name,
        "version": stage.version,
        "config": cut,
        "files": files,
        "upstream": upstream,
        "segments": segments,
    }
    return Node(**{**identity, "key": _digest({**identity, "config": without_silent(cut)})})


def _segments(config: Mapping[str, Any], needed: bool) -> int:
    """How many segments the shot has; 0 if its length fits none and they are not needed."""
    try:
        length = segment_frames(config)
        for stage in needed_stages(config):
            if stage.stride > 1:
                check_clip_frames(length, stage.stride)
        return len(keyframe_numbers(config["scene"]["frames"], length)) - 1
    except ConfigError as error:
        if needed:
            raise
        log.warning("this shot can be previewed only: %s", error)
        return 0


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def _write(path: Path, value: Any, keep: bool) -> None:
    """keep: what is there already stays, unless it is broken."""
    if not (keep and _holds(path, value)):
        write_json(path, value, sort_keys=True)


def _holds(path: Path, value: Any) -> bool:
    """Whether a file holds `value` whole."""
    try:
        return bool(json.loads(path.read_bytes()) == json.loads(json.dumps(value)))
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        log.warning("%s is broken (%s) and is written anew", path, error)
        return False
