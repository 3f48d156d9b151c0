"""The compiled CUDA kernels that Blender has, and those of another card, which NVIDIA's assembler makes once.

Blender brings kernels for some cards and intermediate code (PTX) for all others, which the driver then compiles on one
core before the first frame of a process. The assembler `ptxas` does it on all cores, and what it makes lies beside
the others, where Blender looks first.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import zstandard

from i2v3d.artifacts.files import replacing
from i2v3d.blender.machine import bpy_library
from i2v3d.errors import MachineError

Version = tuple[int, int]  # of a card's instruction set, as NVIDIA counts

_KERNELS = re.compile(r"kernel_sm_(\d+)(\d)\.cubin\.zst")
_CODE = re.compile(r"kernel_compute_(\d+)(\d)\.ptx\.zst")
_BUNDLED = {"triton": ("backends/nvidia/bin",), "nvidia": ("cuda_nvcc/bin", "cu13/bin")}
"""Python packages that bring the assembler, and where in them."""
_SYSTEM = Path("/usr/local/cuda/bin")


def runs(version: Version | None, kernels: Iterable[Version]) -> bool:
    """Whether a card runs one of the compiled kernels: those of its major version and no newer minor one."""
    return version is not None and any(
        major == version[0] and minor <= version[1] for major, minor in kernels
    )


@cache
def compiled_kernels() -> frozenset[Version]:
    """The cards that Blender has compiled CUDA kernels for, by the names of its files.

    Raises MachineError if the package bpy is not installed.
    """
    return frozenset(_files(_KERNELS, _folder()))


def compile_kernels(version: Version) -> Path:
    """Compiles Blender's kernels for the cards of `version` on all cores; returns their file, beside the others.

    Raises MachineError if there is no assembler or no code for the card, if the assembler fails, or if nobody may write
    to Blender's folder.
    """
    folder, assembler = _folder(), find_assembler()
    if not os.access(folder, os.W_OK):
        raise MachineError(
            f"Blender's folder {folder} cannot be written; run the command as who installed it"
        )
    target = folder / f"kernel_sm_{version[0]}{version[1]}.cubin.zst"
    with tempfile.TemporaryDirectory(prefix="i2v3d-kernels-") as place:
        code, made = Path(place, "kernel.ptx"), Path(place, "kernel.cubin")
        code.write_bytes(zstandard.decompress(_code_for(version, folder).read_bytes()))
        words = [str(assembler), f"-arch=sm_{version[0]}{version[1]}", "--split-compile=0", "-o", str(made)]
        done = subprocess.run([*words, str(code)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = " ".join(done.stderr.split())[-300:] or f"status {done.returncode}"
            raise MachineError(f"{assembler} failed ({said}); a newer CUDA toolkit may know the card")
        with replacing(target) as packed:
            packed.write_bytes(zstandard.compress(made.read_bytes(), level=10))
    compiled_kernels.cache_clear()
    return target


def find_assembler() -> Path:
    """NVIDIA's ptxas: of the path, of a CUDA toolkit, or of a Python package. Raises MachineError if there is none."""
    places = [_SYSTEM]
    for package, inner in _BUNDLED.items():
        spec = importlib.util.find_spec(package)
        roots = list(spec.submodule_search_locations or []) if spec else []
        places += [Path(root, name) for root in roots for name in inner]
    found = shutil.which("ptxas") or next(
        (str(place / "ptxas") for place in places if os.access(place / "ptxas", os.X_OK)), None
    )
    if found is None:
        raise MachineError(
            "NVIDIA's assembler ptxas is not here; install the Python package triton, or a CUDA toolkit"
        )
    return Path(found)


def _folder() -> Path:
    """Where Blender has its kernels."""
    found = sorted(bpy_library().parent.glob("*/scripts/addons_core/cycles/lib"))
    if not found:
        raise MachineError(f"{bpy_library().parent} has no folder of kernels; make the environment again")
    return found[-1]


def _files(names: re.Pattern[str], folder: Path) -> dict[Version, Path]:
    """The files that are called so, by the cards that they are for."""
    found = ((names.fullmatch(path.name), path) for path in folder.iterdir())
    return {(int(match[1]), int(match[2])): path for match, path in found if match}


def _code_for(version: Version, folder: Path) -> Path:
    """The newest intermediate code that a card understands."""
    found = _files(_CODE, folder)
    known = [of for of in found if of <= version]
    if not known:
        raise MachineError(
            f"{folder} has no code for cards of version {version[0]}.{version[1]}; Blender renders on the CPU there"
        )
    return found[max(known)]
