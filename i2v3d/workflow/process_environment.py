"""What libraries read of a job's environment when they are imported."""

from __future__ import annotations

import os

# OpenMP's threads sleep while they wait for one that another program keeps from its core: spinning, they would keep it
# from theirs, too (docs/performance.md).
WAITING_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}
# No bars of single weight files, and no network even by accident.
PROCESS_ENVIRONMENT = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1"} | WAITING_THREADS


def set_process_environment() -> None:
    """Gives this process what libraries read when they are imported, unless the user has set it."""
    for variable, value in PROCESS_ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
