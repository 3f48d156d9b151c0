"""The system libraries that Blender links, and the Debian packages that bring them."""

from __future__ import annotations

import importlib.util
import logging
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from i2v3d.errors import MachineError

log = logging.getLogger(__name__)

PACKAGES = {
    "libGL.so.1": "libgl1",
    "libICE.so.6": "libice6",
    "libSM.so.6": "libsm6",
    "libX11.so.6": "libx11-6",
    "libXext.so.6": "libxext6",
    "libXfixes.so.3": "libxfixes3",
    "libXi.so.6": "libxi6",
    "libXrender.so.1": "libxrender1",
    "libxcb.so.1": "libxcb1",
    "libxkbcommon.so.0": "libxkbcommon0",
}
_LOADER_MESSAGE = re.compile(r"(\S+\.so[.\d]*): cannot open shared object file")


def check_machine() -> None:
    """Raises MachineError naming every system library that Blender links and this machine lacks.

    Nothing is imported or loaded: the dynamic linker is asked (`ldd`). Where there is no `ldd`, the
    first render reports the first library that is missing instead.
    """
    libraries = missing_libraries(_linked_by(bpy_library()))
    if libraries:
        raise missing_library_error(libraries)


def missing_packages() -> list[str]:
    """Debian's packages with the libraries that Blender links and this machine lacks. Raises as `bpy_library`."""
    return _packages(missing_libraries(_linked_by(bpy_library())))


def bpy_library() -> Path:
    """The shared object of the Python package bpy. Raises MachineError if the package is not installed."""
    spec = importlib.util.find_spec("bpy")
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = [path for folder in folders for path in Path(folder).glob("__init__*.so")]
    if not found:
        raise MachineError("the Python package bpy (Blender) is not installed; make the environment again")
    return found[0]


def missing_libraries(ldd_output: str) -> list[str]:
    """Names of the libraries that the output of `ldd` says are not found, e.g. libX11.so.6."""
    return sorted(set(re.findall(r"(\S+) => not found", ldd_output)))


def missing_library_error(libraries: Iterable[str]) -> MachineError:
    """The MachineError that names the libraries and the command that installs them."""
    names = sorted(libraries)
    packages = _packages(names)
    remedy = f"apt-get install {' '.join(packages)}" if packages else "install what provides it"
    unknown = [name for name in names if name not in PACKAGES]
    hint = f" (no package is known for {', '.join(unknown)})" if unknown and packages else ""
    return MachineError(
        f"Blender needs {', '.join(names)}, which this machine lacks; install with: {remedy}{hint}"
    )


def _packages(libraries: Iterable[str]) -> list[str]:
    return sorted({PACKAGES[name] for name in libraries if name in PACKAGES})


def library_of_import_error(message: str) -> str | None:
    """The library that an ImportError of bpy says cannot be opened, or None if it says something else."""
    match = _LOADER_MESSAGE.search(message)
    return match.group(1) if match else None


def _linked_by(library: Path) -> str:
    """What `ldd` prints about a shared object; empty where there is no `ldd`."""
    ldd = shutil.which("ldd")
    if ldd is None:
        log.debug("no ldd here: the libraries of Blender are checked by its first start")
        return ""
    return subprocess.run([ldd, str(library)], capture_output=True, text=True, check=False).stdout
