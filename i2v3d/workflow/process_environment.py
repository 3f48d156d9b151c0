"""The environment of this process: what libraries read of it when they are imported, and what holds for a while."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

# OpenMP's threads sleep while they wait for one that another program keeps from its core: spinning, they would keep it
# from theirs, too (docs/performance.md).
WAITING_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}
# No bars of single weight files, and no network even by accident.
PROCESS_ENVIRONMENT = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1"} | WAITING_THREADS

# Libraries that look for cards as they are imported find none, and torch does not ask the driver: a process that has
# asked it leaves forks that cannot. Source: torch's notes on multiprocessing, "poison fork".
NO_CARDS = {"CUDA_VISIBLE_DEVICES": "", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}


def set_process_environment() -> None:
    """Gives this process what libraries read when they are imported, unless the user has set it."""
    for variable, value in PROCESS_ENVIRONMENT.items():
        os.environ.setdefault(variable, value)


@contextmanager
def environment(words: Mapping[str, str]) -> Iterator[None]:
    """Gives this process variables, and at the end what it had before in their place."""
    before = {name: os.environ.get(name) for name in words}
    os.environ.update(words)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
