"""Which device Cycles renders on: what pays, unless one is asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable

from i2v3d.blender.crew import granted_cores
from i2v3d.blender.kernels import Version, compiled_kernels, runs

log = logging.getLogger(__name__)

SAMPLES_A_SECOND = 0.9e6
"""Of flat surfaces, a CPU core: 1024x576 with 64 samples took 2.5 s on 16 cores."""
COMPILING_S = 600.0
"""What a GPU may take to compile its kernels before the first frame: the driver was not done after 500 s on an H200 and
415 s on an H100. `i2v3d compile-kernels` does it before, once."""
PICTURE_S = 1.4
"""What a picture costs beside its samples on a GPU, which has one Blender process: 1024x576 with all passes, H100."""


def choose_device(
    wanted: str, device: str, samples: int, pictures: int, cores: int, kernels: bool
) -> tuple[str, str]:
    """The torch device string that a job renders on, and why in a few words.

    wanted: 'auto', 'cpu' or 'gpu'; device: that of the job's networks; samples: of all pixels of all pictures together;
    cores: that the job has; kernels: whether Blender has kernels that the GPU runs as they are. 'auto' is what ends
    sooner, by what pictures and samples were measured to take; those of a GPU take no time beside the rest.
    """
    if wanted == "cpu":
        return "cpu", "runtime.render_device is cpu"
    if device.startswith("cpu"):
        return "cpu", "there is no GPU"
    if wanted == "gpu":
        return device, "runtime.render_device is gpu"
    seconds = samples / (SAMPLES_A_SECOND * cores)
    gpu_s = pictures * PICTURE_S + (0 if kernels else COMPILING_S)
    told = f"about {seconds:.0f} s of {cores} cores, {gpu_s:.0f} s of a GPU"
    if not kernels:
        told += (
            f", {COMPILING_S:.0f} of them until its kernels are compiled (i2v3d compile-kernels does it once)"
        )
    return (device if seconds > gpu_s else "cpu"), told


def device_for(
    wanted: str, device: str, samples: int, pictures: int, version: Callable[[str], Version | None]
) -> str:
    """`choose_device` with the cores that this job has; the choice and its reason are a line of the log.

    version: of a device's instruction set, None if it is none of NVIDIA's; asked only if that decides.
    """
    kernels = wanted == "auto" and not device.startswith("cpu") and runs(version(device), compiled_kernels())
    chosen, why = choose_device(wanted, device, samples, pictures, granted_cores(), kernels)
    log.info("renders on %s: %s", chosen, why)
    return chosen
