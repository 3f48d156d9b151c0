"""Runs one node: frozen configuration in, published folder out, with a log, metrics and provenance."""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from i2v3d.artifacts.claims import claimed
from i2v3d.artifacts.folders import publish, segment_name, work_dir
from i2v3d.artifacts.manifest import MANIFEST, require_undamaged
from i2v3d.artifacts.shares import Share
from i2v3d.config.runtime import RuntimeConfig, TrackingConfig
from i2v3d.config.sections import build
from i2v3d.errors import ArtifactError, ConfigError
from i2v3d.models.allocator import keep_memory
from i2v3d.models.memory import UNBOUNDED, Tier, limited, tier, with_less_if_full
from i2v3d.stages.context import Sink, StageContext
from i2v3d.stages.registry import STAGES
from i2v3d.stages.stage import Stage
from i2v3d.workflow.cards import own_card
from i2v3d.workflow.finished import RECORD, is_finished
from i2v3d.workflow.plan import Node
from i2v3d.workflow.provenance import Meter, code_versions, machine
from i2v3d.workflow.tracking.wandb import import_first, stage_name, stage_run

log = logging.getLogger(__name__)
METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class Settings:
    """How a run goes, which never changes a result: its name, machine options and tracker."""

    run: str
    runtime: RuntimeConfig
    tracking: TrackingConfig

    @staticmethod
    def load(path: Path) -> Settings:
        """Reads the settings that the plan wrote. Raises ArtifactError if they are not there."""
        try:
            data = json.loads(path.read_text())
            return Settings(
                run=data["run"],
                runtime=build(RuntimeConfig, data["runtime"], "runtime"),
                tracking=build(TrackingConfig, data["tracking"], "tracking"),
            )
        except (OSError, ValueError, KeyError) as error:
            raise ArtifactError(
                f"{path} holds no run settings ({error}); run snakemake to re-plan"
            ) from error


@dataclass(frozen=True)
class Job:
    """One node, or one segment or share of it, to be run into `out`. threads: CPU threads, 0 for all."""

    node: Node
    cache: Path
    out: Path
    segment: int | None
    settings: Settings
    threads: int
    share: Share | None = None


def run_share(job: Job, share: Share, stage: Stage) -> None:
    """Runs one share of a job, into a folder that is whole or not there; nothing if the job's own is finished.

    Raises what `run_job` raises, and ConfigError for a stage that is not shared.
    """
    if not stage.is_shared(job.node.config):
        raise ConfigError(f"{stage.name} {job.node.key} is not made in shares; leave out --share {share}")
    if not is_finished(job.out):
        run_job(replace(job, out=share.folder(job.out), share=share), stage)
    if is_finished(job.out):  # another run made the whole meanwhile
        shutil.rmtree(work_dir(job.out), ignore_errors=True)


def run_job(job: Job, stage: Stage) -> None:
    """Runs `stage`, that of the job's node, and publishes its folder; one that is there already is used as it is.

    Raises what the stage raises, ArtifactError if a folder that it reads is missing.
    """
    _check_version(stage, job.node)
    with claimed(job.out) as to_make:
        if to_make:
            own = own_card(os.environ, job.settings.runtime.jobs_per_card)
            with own if stage.machine.gpus else nullcontext():
                _make(job, stage)
        else:
            log.info("%s is finished already: %s", _title(job), job.out)


def _make(job: Job, stage: Stage) -> None:
    lender = job.node.lent.get(str(job.segment))
    if lender is not None:
        _take_over(job, job.cache / job.node.stage / lender / segment_name(job.segment or 0))
        return
    meter = Meter()
    inputs = _inputs(job, stage)
    config = stage_object(stage, job.node, job.segment)
    with _importing():
        import_first(job.settings.tracking)
        device = resolve_device(job.settings.runtime.device)
        _limit_threads(job.settings.runtime.threads or job.threads)
        if device == "cpu":
            keep_memory()
        entry = load_entry(stage.entry)
    work = work_dir(job.out)
    (job.cache / "tracking").mkdir(parents=True, exist_ok=True)
    with publish(job.out) as folder, ExitStack() as stack:
        work.mkdir(parents=True, exist_ok=True)
        sink = stack.enter_context(
            stage_run(
                job.settings.tracking,
                group=job.settings.run,
                job_type=stage.name,
                name=_title(job),
                config={**job.node.config, "code": code_versions()},
                directory=job.cache / "tracking",
            )
        )
        log.info("%s on %s, writes %s", _title(job), device, job.out)

        def attempt(memory: Tier) -> None:
            _empty(folder)
            entry(config, inputs, folder, _context(job, device, memory, folder, work, sink))

        if stage.machine.gpus:
            used = with_less_if_full(_title(job), tier(job.settings.runtime.memory, device), device, attempt)
        else:
            attempt(used := UNBOUNDED)
        context = _context(job, device, used, folder, work, sink)
        context.log_metrics({f"runtime/{k}": v for k, v in meter.reading().items() if k != "started"})
        (folder / RECORD).write_text(json.dumps(_record(job, device, meter), indent=1) + "\n")
    log.info("%s done in %.1f s", _title(job), meter.reading()["wall_s"])


def _take_over(job: Job, source: Path) -> None:
    """Publishes a segment that another node of the stage made just so: nothing that decides it differs."""
    if not source.is_dir():
        raise ArtifactError(f"{source} is missing; run snakemake, which makes it first")
    require_undamaged(source)
    with publish(job.out) as folder:
        for path in source.iterdir():
            if path.is_file() and path.name != MANIFEST:
                shutil.copy2(path, folder / path.name)
    log.info("%s is the segment of %s", _title(job), source.parent.name)


def _context(job: Job, device: str, memory: Tier, folder: Path, work: Path, sink: Sink) -> StageContext:
    """What the stage of a job is told, with the GPU's memory used as `memory` says."""
    runtime = job.settings.runtime
    return StageContext(
        device=device,
        max_batch=limited(runtime.max_batch, memory.pictures),
        memory=memory,
        fast=resolve_perf(runtime.perf, device),
        weighing=runtime.perf == "auto",
        render_device=runtime.render_device,
        work=work,
        share=job.share,
        metrics_file=folder / METRICS,
        sinks=(sink,),
    )


def _empty(folder: Path) -> None:
    """Removes what an attempt that failed left in a folder."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def stage_object(stage: Stage, node: Node, segment: int | None) -> Any:
    """The stage's typed configuration; per-segment stages get their 0-based segment with it."""
    data = dict(node.config)
    if stage.per_segment:
        if segment is None or not 0 <= segment < node.segments:
            raise ConfigError(f"{stage.name} needs --segment from 0 to {node.segments - 1}, got {segment}")
        data["segment"] = segment
    return build(stage.config, data, stage.name)


def resolve_perf(wanted: str, device: str) -> bool:
    """Whether networks run fast: 'auto' does on a GPU."""
    return wanted == "fast" or (wanted == "auto" and device.startswith("cuda"))


def resolve_device(wanted: str) -> str:
    """'auto' becomes 'cuda' when a GPU is there, else 'cpu'. Raises ConfigError for a GPU that is not."""
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"runtime.device is {wanted}, but torch sees no GPU here; use runtime.device=auto")
    return wanted


def _inputs(job: Job, stage: Stage) -> dict[str, Path]:
    """Stage name -> finished folder; of a per-segment stage, this segment's or the parent of all.

    'previous': the segment before this one, for a chained stage.
    """
    node, found = job.node, {}
    for name, key in node.upstream.items():
        found[name] = job.cache / name / key
        if STAGES[name].per_segment and job.segment is not None:
            found[name] /= segment_name(job.segment)
    if job.segment and stage.is_chained(node.config):
        found["previous"] = job.cache / node.stage / node.key / segment_name(job.segment - 1)
    for path in found.values():
        if not path.is_dir():
            raise ArtifactError(f"{path} is missing; run snakemake, which makes it first")
        for folder in _published(path):
            require_undamaged(folder)
    return found


def _published(path: Path) -> list[Path]:
    """The published folders that an input consists of: itself, or one a segment."""
    return sorted(path.glob("segment_*")) or [path]


def _check_version(stage: Stage, node: Node) -> None:
    if node.version != stage.version:
        raise ConfigError(
            f"node {node.key} was planned for version {node.version} of {stage.name}, "
            f"this program has version {stage.version}; run snakemake again to re-plan"
        )


def _limit_threads(threads: int) -> None:
    if threads > 0:
        import torch

        torch.set_num_threads(threads)


@contextmanager
def _importing() -> Iterator[None]:
    """No search for garbage meanwhile: of what the large libraries make, a million objects, there is none."""
    searched = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searched:
            gc.enable()


def load_entry(name: str) -> Any:
    """What 'module:name' of the registry stands for."""
    module, attribute = name.split(":")
    return getattr(importlib.import_module(module), attribute)


def _title(job: Job) -> str:
    name = stage_name(job.node.stage, job.node.key, job.segment)
    return name if job.share is None else f"{name} share {job.share}"


def _record(job: Job, device: str, meter: Meter) -> dict[str, Any]:
    node = job.node
    return {
        "stage": node.stage,
        "key": node.key,
        "version": node.version,
        "segment": job.segment,
        "device": device,
        "threads": job.settings.runtime.threads or job.threads,
        **meter.reading(),
        "config": node.config,
        "files": node.files,
        "upstream": node.upstream,
        "versions": code_versions(),
        "machine": machine(),
    }
