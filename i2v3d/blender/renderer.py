"""Which device Cycles renders on: what pays, unless one is asked for."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from functools import cache

from i2v3d.blender.crew import granted_cores
from i2v3d.blender.machine import bpy_library

log = logging.getLogger(__name__)

SAMPLES_A_SECOND = 0.9e6
"""Of flat surfaces, a CPU core: 1024x576 with 64 samples took 2.5 s on 16 cores."""
COMPILING_S = 600.0
"""What a GPU may take to compile its kernels before the first frame: the driver was not done after 500 s on an H200 and
415 s on an H100."""
LOADING_S = 20.0
"""What it may take to load kernels that Blender brings: assumed, no such card was at hand."""

Version = tuple[int, int]  # of a card's instruction set, as NVIDIA counts


def choose_device(wanted: str, device: str, samples: int, cores: int, kernels: bool) -> tuple[str, str]:
    """The torch device string that a job renders on, and why in a few words.

    wanted: 'auto', 'cpu' or 'gpu'; device: that of the job's networks; samples: of all pixels of all pictures together;
    cores: that the job has; kernels: whether Blender brings kernels that the GPU runs as they are. 'auto' is the CPU
    unless it takes longer than the GPU takes to begin.
    """
    if wanted == "cpu":
        return "cpu", "runtime.render_device is cpu"
    if device.startswith("cpu"):
        return "cpu", "there is no GPU"
    if wanted == "gpu":
        return device, "runtime.render_device is gpu"
    seconds = samples / (SAMPLES_A_SECOND * cores)
    begin_s, what = (LOADING_S, "load") if kernels else (COMPILING_S, "compile")
    told = f"about {seconds:.0f} s of {cores} cores, a GPU may {what} its kernels for {begin_s:.0f} s first"
    return (device if seconds > begin_s else "cpu"), told


def device_for(wanted: str, device: str, samples: int, version: Callable[[str], Version | None]) -> str:
    """`choose_device` with the cores that this job has; the choice and its reason are a line of the log.

    version: of a device's instruction set, None if it is none of NVIDIA's; asked only if that decides.
    """
    kernels = wanted == "auto" and not device.startswith("cpu") and runs(version(device), shipped_kernels())
    chosen, why = choose_device(wanted, device, samples, granted_cores(), kernels)
    log.info("renders on %s: %s", chosen, why)
    return chosen


def runs(version: Version | None, kernels: Iterable[Version]) -> bool:
    """Whether a card runs one of the compiled kernels: those of its major version and no newer minor one."""
    return version is not None and any(
        major == version[0] and minor <= version[1] for major, minor in kernels
    )


@cache
def shipped_kernels() -> frozenset[Version]:
    """The cards that Blender brings compiled CUDA kernels for, by the names of its files.

    Raises MachineError if the package bpy is not installed.
    """
    files = bpy_library().parent.glob("*/scripts/addons_core/cycles/lib/kernel_sm_*.cubin*")
    found = (re.match(r"kernel_sm_(\d+)(\d)\.", path.name) for path in files)
    return frozenset((int(match[1]), int(match[2])) for match in found if match)
