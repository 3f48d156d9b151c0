"""What a job asks snakemake for: cores and cards, on this machine or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from i2v3d.stages.stage import Stage
from i2v3d.workflow.cards import has_card, has_other_card

MB = 10**6
LIMITS = (
    "memory.max",
    "memory/memory.limit_in_bytes",
)  # of a container, in versions 2 and 1 of control groups


@dataclass(frozen=True)
class Computer:
    """This machine, where jobs run on it. cores: that they may use together; has_card: of graphics; memory_mb: all;
    has_other_card: one that is not NVIDIA's, or not as its drivers have them."""

    cores: int
    has_card: bool
    memory_mb: int
    has_other_card: bool = False

    @staticmethod
    def with_cores(cores: int) -> Computer:
        """What the system says of it."""
        devices, memory = Path("/dev"), memory_bytes(Path("/sys/fs/cgroup")) // MB
        return Computer(cores, has_card(os.environ, devices), memory, has_other_card(devices))


def memory_bytes(groups: Path) -> int:
    """The machine's memory, or the part that a container may use. groups: where control groups say so."""
    told = [(groups / name).read_text().strip() for name in LIMITS if (groups / name).is_file()]
    return min([psutil.virtual_memory().total, *(int(limit) for limit in told if limit.isdecimal())])


def asked_threads(stage: Stage, runtime: Mapping[str, Any], here: Computer | None) -> int:
    """The CPU threads of a job: what its stage asks for, on a cluster (here is None) and where there is a card.

    Of a machine that computes everything on its cores a job takes half at most where others may run beside it: two
    jobs of one thread use two cores better than one job of two.
    """
    wanted = stage.machine.threads
    if here is None or not stage.machine.beside or not _on_cores(runtime, here):
        return wanted
    return max(1, min(wanted, here.cores // 2))


def asked_cards(stage: Stage, runtime: Mapping[str, Any], here: Computer | None) -> int:
    """The cards of a job. None where networks run on the cores and as many jobs as these have fit into the memory;
    where they do not, the place of a card is what makes them run one at a time."""
    if not stage.machine.gpus or here is None or not _on_cores(runtime, here):
        return stage.machine.gpus
    jobs = here.cores // min(asked_threads(stage, runtime, here), here.cores)
    need_mb = stage.machine.memory_mb or int(runtime["memory_mb"])
    return 0 if jobs * need_mb <= here.memory_mb else stage.machine.gpus


def forks_jobs(runtime: Mapping[str, Any], here: Computer | None) -> bool:
    """Whether jobs are forked from a process that has imported for them: where networks run on this machine's cores
    or NVIDIA's cards. Nobody has tried what other makers' drivers say to forks."""
    if here is None or not runtime["warm"]:
        return False
    cuda = str(runtime["device"]).partition(":")[0] in ("auto", "cuda")
    return _on_cores(runtime, here) or (cuda and not here.has_other_card)


def _on_cores(runtime: Mapping[str, Any], here: Computer) -> bool:
    return runtime["device"] == "cpu" or (runtime["device"] == "auto" and not here.has_card)
