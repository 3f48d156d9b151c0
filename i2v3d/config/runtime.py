"""How a run is done, not what it makes: never part of a key."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from i2v3d.config.bounds import LARGEST, Megabytes
from i2v3d.config.sections import section


@section
class RuntimeConfig:
    """device: 'auto' takes a GPU when there is one. perf: how the networks are run; 'auto' is fast on a GPU.
    memory: how much memory of a GPU is used at most; 'auto' is as much as the card has. max_batch: images a network
    call, 0 for what the memory allows. render_device: where Blender renders; 'auto' is what ends sooner. memory_mb:
    what a job that runs one of the networks asks a cluster for. threads: CPU threads of one job, 0 for what the job
    scheduler gives. jobs_per_card: of one user at a time on one of several cards of this machine.
    shards: jobs that a render is split into. warm: whether jobs on one machine share the imports of large libraries."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d{1,3})?)$")]
    perf: Literal["auto", "plain", "fast"]
    memory: Literal["auto", "80g", "24g", "16g", "12g", "8g"]
    render_device: Literal["auto", "cpu", "gpu"]
    max_batch: Annotated[int, Field(ge=0, le=LARGEST)]
    memory_mb: Megabytes
    threads: Annotated[int, Field(ge=0, le=4096)]
    jobs_per_card: Annotated[int, Field(ge=1, le=64)]
    shards: Annotated[int, Field(ge=1, le=1000)]
    warm: bool


@section
class TrackingConfig:
    """Weights & Biases. mode 'offline' never needs a network; WANDB_MODE in the environment wins."""

    mode: Literal["offline", "online", "disabled"]
    project: str
    entity: str | None
