"""What the runner hands to a stage besides its configuration and folders."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from i2v3d.artifacts.shares import Share
from i2v3d.models.memory import UNBOUNDED, Tier
from i2v3d.progress import StepBar, track

T = TypeVar("T")
log = logging.getLogger(__name__)

Sink = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True)
class StageContext:
    """Where and how a stage runs; nothing in here may change a result by more than 1/255.

    device: a torch device string. max_batch: images a network sees in one call (0: all at once). memory: what else is
    done to save the GPU's. fast: whether networks run on fused kernels and graphs; weighing: what takes long to prepare
    only where that pays. render_device: 'auto', 'cpu' or 'gpu', where Blender renders.
    work: a folder that outlives a killed job (checkpoints); removed once the result is published.
    share: of its items, all that a stage that can be shared makes now; None: it makes what no share has made.
    metrics_file: JSON lines, the metrics of record. sinks: also told of every metric and image (W&B).
    """

    device: str
    max_batch: int
    work: Path
    metrics_file: Path | None = None
    sinks: tuple[Sink, ...] = field(default=())
    fast: bool = False
    weighing: bool = True
    memory: Tier = UNBOUNDED
    render_device: str = "auto"
    share: Share | None = None

    def track(self, items: Iterable[T], *, desc: str, unit: str, total: int | None = None) -> Iterator[T]:
        """A progress bar around an iteration."""
        return track(items, desc=desc, unit=unit, total=total)

    def bar(self, desc: str, unit: str = "step") -> StepBar:
        """A progress bar to hand to a sampler as `on_step`; a context manager."""
        return StepBar(desc, unit)

    def log_metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Records scalars, e.g. {"loss": 0.1} at step 20."""
        row: dict[str, Any] = dict(values) if step is None else {"step": step, **values}
        if self.metrics_file is not None:
            with self.metrics_file.open("a") as lines:
                lines.write(json.dumps(row) + "\n")
        for sink in self.sinks:
            sink("metrics", row)

    def log_media(self, name: str, path: Path) -> None:
        """Shows a picture or video (by path) in the tracker under `name`."""
        for sink in self.sinks:
            sink("media", {"name": name, "path": str(path)})
