"""Which device Cycles renders on: what pays, unless one is asked for."""

from __future__ import annotations

import logging

from i2v3d.blender.crew import granted_cores

log = logging.getLogger(__name__)

SAMPLES_A_SECOND = 0.9e6
"""Of flat surfaces, a CPU core: 1024x576 with 64 samples took 2.5 s on 16 cores."""
KERNELS_S = 240.0
"""What a GPU may take to compile its kernels before the first frame, seen on an H100 with OptiX and CUDA, each process
anew as far as is known."""


def choose_device(wanted: str, device: str, samples: int, cores: int) -> tuple[str, str]:
    """The torch device string that a job renders on, and why in a few words.

    wanted: 'auto', 'cpu' or 'gpu'; device: that of the job's networks; samples: of all pixels of all pictures together;
    cores: that the job has. 'auto' is the CPU unless it takes longer than a GPU's kernels do to compile.
    """
    if wanted == "cpu":
        return "cpu", "runtime.render_device is cpu"
    if device.startswith("cpu"):
        return "cpu", "there is no GPU"
    if wanted == "gpu":
        return device, "runtime.render_device is gpu"
    seconds = samples / (SAMPLES_A_SECOND * cores)
    told = (
        f"about {seconds:.0f} s of {cores} cores, a GPU may compile its kernels for {KERNELS_S:.0f} s first"
    )
    return (device if seconds > KERNELS_S else "cpu"), told


def device_for(wanted: str, device: str, samples: int) -> str:
    """`choose_device` with the cores that this job has; the choice and its reason are a line of the log."""
    chosen, why = choose_device(wanted, device, samples, granted_cores())
    log.info("renders on %s: %s", chosen, why)
    return chosen
