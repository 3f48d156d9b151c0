"""One of several workers leaves the files that import diffusers to the others: half of what it would import.

Only in `make check`, whose tests take little longer than those imports.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest
from xdist.workermanage import WorkerController

ROOT = Path(__file__).parents[2]
HEAVY = {"diffusers", "peft", "torchmetrics", "transformers"}
# Files whose tests import them later, inside functions of the package.
LATER = (
    "tests/models/",
    "tests/scene/test_scene_networks.py",
    "tests/stages/test_registry.py",
)
IMPORT = re.compile(r"^from ([\w.]+) import (\([^)]*\)|[^\n]*)|^import ([\w.]+)", re.MULTILINE)
LIGHT = "light"  # what a worker is told


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """Tells the last of several workers that it is the light one, if all files are collected but no slow test."""
    config = node.config
    several = len(config.option.tx) > 1
    whole = {Path(word).resolve() for word in config.args} >= {ROOT / "tests"}
    last = node.gateway.id == f"gw{len(config.option.tx) - 1}"
    node.workerinput[LIGHT] = several and whole and last and "not slow" in config.option.markexpr


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Heavy files, in the light worker."""
    if not getattr(config, "workerinput", {}).get(LIGHT) or collection_path.suffix != ".py":
        return None
    return True if is_heavy(collection_path) else None


def is_heavy(file: Path) -> bool:
    """Whether a file of tests imports networks' libraries, itself or through modules of the project."""
    if file.relative_to(ROOT).as_posix().startswith(LATER):
        return True
    reached, ahead = {file}, [file]
    while ahead:
        names = _imports(ahead.pop())
        if any(name.split(".")[0] in HEAVY for name in names):
            return True
        new = {module for name in names for module in _modules(name)} - reached
        reached |= new
        ahead += new
    return False


@functools.cache
def _imports(file: Path) -> frozenset[str]:
    """Dotted names that a module imports as it is imported itself; those within functions begin further right."""
    names = set()
    for source, found, plain in IMPORT.findall(file.read_text(encoding="utf-8")):
        names |= {plain} if plain else {source, *(f"{source}.{name}" for name in re.findall(r"\w+", found))}
    return frozenset(names)


@functools.cache
def _modules(name: str) -> frozenset[Path]:
    """The project's modules that the import of a name runs: its packages and itself."""
    parts = name.split(".")
    if parts[0] not in ("i2v3d", "tests"):
        return frozenset()
    paths = [ROOT.joinpath(*parts[:count]) for count in range(1, len(parts) + 1)]
    files = [file for path in paths for file in (path / "__init__.py", path.with_suffix(".py"))]
    return frozenset(file for file in files if file.is_file())
