"""What made a result: versions, machine, time and memory."""

from __future__ import annotations

import functools
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

PACKAGES = (
    "i2v3d",
    "torch",
    "diffusers",
    "transformers",
    "peft",
    "accelerate",
    "bpy",
    "numpy",
    "opencv-python-headless",
)


@functools.cache
def versions() -> Mapping[str, str]:
    """Installed versions of everything that can change a result, looked up once a process."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return MappingProxyType(found)


def code_versions() -> dict[str, Any]:
    """Versions of all packages, and the commit of the project's own code."""
    return {**versions(), **commit(Path(__file__).parents[2])}


def commit(root: Path) -> dict[str, Any]:
    """{"commit", "changed"} of a Git checkout: its commit, and whether tracked files differ; None where unknown."""
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return {"commit": None, "changed": None}
    words = [["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]]
    said = [
        subprocess.run([git, "-C", str(root), *w], capture_output=True, text=True, check=False) for w in words
    ]
    if any(answer.returncode for answer in said):
        return {"commit": None, "changed": None}
    return {"commit": said[0].stdout.strip(), "changed": bool(said[1].stdout.strip())}


def machine() -> dict[str, str]:
    """Processor and system, as the operating system names them."""
    return {"system": platform.platform(), "machine": platform.machine()}


class Meter:
    """Wall-clock seconds since it was made, and the peak resident memory of this process and its children."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self.started = time.strftime("%Y-%m-%dT%H:%M:%S%z")

    def reading(self) -> dict[str, Any]:
        """{"started", "wall_s", "peak_memory_mb"}: the larger of this process and its largest child."""
        unit = 1 if sys.platform == "darwin" else 1024
        peak = max(
            resource.getrusage(who).ru_maxrss * unit
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        return {
            "started": self.started,
            "wall_s": round(time.perf_counter() - self._start, 2),
            "peak_memory_mb": round(peak / 2**20),
        }
