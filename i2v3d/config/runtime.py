"""How a run is done, not what it makes: never part of a key."""

from __future__ import annotations

from typing import Literal

from i2v3d.config.bounds import Count, Index
from i2v3d.config.sections import section


@section
class RuntimeConfig:
    """device: 'auto' takes a GPU when there is one. max_batch: images a network call, 0 for all at once.
    memory_mb: what a job that runs one of the networks asks a cluster for. threads: CPU threads of one job, 0 for
    what the job scheduler gives."""

    device: str
    max_batch: Index
    memory_mb: Count
    threads: Index


@section
class TrackingConfig:
    """Weights & Biases. mode 'offline' never needs a network; WANDB_MODE in the environment wins."""

    mode: Literal["offline", "online", "disabled"]
    project: str
    entity: str | None
