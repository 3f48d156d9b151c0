"""What of this machine would stop a job that runs on it: told before any work, by a run as by the doctor.

Whether inputs, weights and options are right is `i2v3d.workflow.preflight`; on a cluster other machines do the work.
"""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from i2v3d.errors import ConfigError, MachineError
from i2v3d.images import ENCODER
from i2v3d.workflow.cards import VISIBLE
from i2v3d.workflow.demands import Computer
from i2v3d.workflow.workplace import project_folder

TEMPORARY_BYTES = 100_000_000  # pages and what Blender hands over; far more than either takes


def check_here(device: str, here: Computer) -> None:
    """All checks of this module. device: runtime.device. Raises ConfigError or MachineError as they do."""
    if here.cores < 1:
        raise ConfigError(
            f"--cores is {here.cores}, with which no job would ever start; give --cores 1, or all"
        )
    check_versions()
    check_encoder()
    check_temporary_folder()
    check_device(device, here.has_card)


def check_device(device: str, has_card: bool) -> None:
    """Raises ConfigError for a card that no job on this machine would see. has_card: whether there is any."""
    if not device.startswith("cuda"):
        return
    if not has_card:
        raise ConfigError(
            f"runtime.device is {device}, but this machine has no graphics card that can be used; use "
            "runtime.device=auto or mend the driver"
        )
    number = re.fullmatch(r"cuda:0*([1-9]\d*)", device)
    if number:
        raise ConfigError(
            f"runtime.device is {device}, but every job sees one card only, which is cuda:0; choose cards by "
            f"{VISIBLE}={number[1]} and runtime.device=cuda"
        )


def check_versions() -> None:
    """Raises MachineError unless what is installed has the versions that this package asks for."""
    wrong = []
    for line in metadata.requires("i2v3d") or ():
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            there = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{wanted.name} is not installed")
            continue
        if not wanted.specifier.contains(there, prereleases=True):
            wrong.append(f"{wanted.name} is {there}, expected {wanted.specifier}")
    if wrong:
        lock = shlex.quote(str(project_folder() / "requirements.lock"))
        raise MachineError(f"{'; '.join(wrong)}; install with: pip install -r {lock}")


def check_encoder() -> None:
    """Raises MachineError unless PyAV brings the encoder of the videos."""
    import av

    if ENCODER not in av.codecs_available:
        raise MachineError(
            f"the installed PyAV has no encoder {ENCODER}; install its own wheel with: pip install --force-reinstall av"
        )


def check_temporary_folder() -> None:
    """Raises MachineError unless there is a folder for temporary files, with room."""
    try:
        folder = Path(tempfile.gettempdir())
    except OSError as error:
        raise MachineError(
            f"no folder for temporary files can be written ({error.strerror}); name one with TMPDIR=FOLDER"
        ) from error
    free = shutil.disk_usage(folder).free
    if free < TEMPORARY_BYTES:
        raise MachineError(
            f"the temporary folder {folder} has {free / 1e6:.0f} MB free, expected {TEMPORARY_BYTES / 1e6:.0f} MB; "
            "free some or name another with TMPDIR=FOLDER"
        )
