"""The guard of `make check`: what is not marked slow starts neither Blender nor snakemake."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.guard import GUARD

BLENDER = [sys.executable, "-m", "i2v3d.blender.inside.worker", "job.json"]
SNAKEMAKE = [sys.executable, "-m", "snakemake", "--version"]


@pytest.mark.parametrize("command", [BLENDER, SNAKEMAKE, [sys.executable, "-c", "import os, bpy"]])
def test_an_unmarked_test_cannot_start_them(command: list[str]) -> None:
    with pytest.raises(AssertionError, match="not marked slow"):
        subprocess.run(command, check=False)
    GUARD.broken.clear()


def test_other_programs_are_started() -> None:
    done = subprocess.run([sys.executable, "-c", "print('bpy')"], capture_output=True, text=True, check=True)
    assert done.stdout == "bpy\n"


@pytest.mark.slow
def test_a_marked_test_may_start_them() -> None:
    assert subprocess.run(SNAKEMAKE, capture_output=True, check=False).returncode == 0
