"""The set-up of a fresh machine, with stubs for the programs that it finds there: what it takes, installs and says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = """
case "$1$2" in
  -c*missing_packages*) echo "$LACKING" ;;
  -mvenv) mkdir -p "$3/bin" && cp "$STUBS/a-python" "$3/bin/python" && cp "$STUBS/uv-of-pip" "$3/bin/uv" ;;
  -mpip) echo "pip $*" >>"$STUBS/said" ;;
esac
"""
SAYS = 'echo "${0##*/} $*" >>"$STUBS/said"\n'
APT = f'{SAYS}[ "$1" != install ] || [ -e "$STUBS/python3.11" ] || cp "$STUBS/a-python" "$STUBS/python3.11"\n'
UV = f'{SAYS}for folder; do :; done; "$STUBS/a-python" -m venv "$folder"\n'


class Machine:
    """A folder of stubs that is all of PATH. root: who runs; libraries: packages that Blender lacks."""

    def __init__(self, folder: Path, root: bool = False, libraries: str = "") -> None:
        self.folder, self.libraries = folder, libraries
        folder.mkdir()
        for name in ("sh", "dirname", "mkdir", "cp"):
            (folder / name).symlink_to(shutil.which(name) or name)
        self.has("id", f"echo {0 if root else 1000}")
        self.has("a-python", PYTHON)
        self.has("uv-of-pip", SAYS)

    def has(self, name: str, text: str) -> None:
        (self.folder / name).write_text(f"#!/bin/sh\n{text}")
        (self.folder / name).chmod(0o755)

    def run(self, **environment: str) -> tuple[int, str, list[str]]:
        """Exit code, what the user reads, and what was called."""
        done = subprocess.run(
            ["sh", str(ROOT / "environment.sh"), str(self.folder / ".venv")],
            env={
                "PATH": str(self.folder),
                "STUBS": str(self.folder),
                "LACKING": self.libraries,
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        said = self.folder / "said"
        return done.returncode, done.stderr, said.read_text().splitlines() if said.exists() else []


def test_python_that_is_there_is_taken_and_nothing_else_is_touched(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine", root=True)
    machine.has("python3.11", PYTHON)
    machine.has("apt-get", APT)
    code, told, called = machine.run()
    assert (code, told) == (0, "")
    assert [line.split()[0] for line in called] == ["pip", "uv"]
    assert all("--constraint" in line and "requirements.lock" in line for line in called)


def test_a_bare_debian_gets_python_and_libraries_and_is_told_first(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine", root=True, libraries="libgl1 libsm6")
    machine.has("apt-get", APT)
    machine.has("apt-cache", "exit 0")
    code, told, called = machine.run()
    assert code == 0
    python = "python3.11 python3.11-venv ca-certificates"
    assert told.splitlines() == [
        f"i2v3d: installing with apt-get: {python} (the Python of Blender's package bpy)",
        "i2v3d: installing with apt-get: libgl1 libsm6 (libraries that Blender links)",
    ]
    assert [line for line in called if " install " in line and line.startswith("apt-get")] == [
        f"apt-get install -qq -y --no-install-recommends {python}",
        "apt-get install -qq -y --no-install-recommends libgl1 libsm6",
    ]


def test_libraries_that_may_not_be_installed_are_named_with_their_command(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine", libraries="libgl1 libsm6")
    machine.has("python3.11", PYTHON)
    machine.has("apt-get", APT)
    code, told, called = machine.run()
    assert code == 0 and told.endswith("install with: apt-get install libgl1 libsm6\n")
    assert not any(line.startswith("apt-get") for line in called)


@pytest.mark.parametrize("root", [False, True])
def test_where_the_system_has_no_python_3_11_uv_brings_it(tmp_path: Path, root: bool) -> None:
    machine = Machine(tmp_path / "machine", root=root)
    machine.has("uv", UV)
    machine.has("python3.11", "exit 1")  # as one that cannot make environments: it counts as none
    code, told, called = machine.run()
    assert (code, told) == (0, "i2v3d: Python 3.11 by uv\n")
    assert called[0].startswith("uv venv --quiet --allow-existing --seed --python 3.11 ")


@pytest.mark.parametrize("root", [False, True])
def test_otherwise_both_ways_to_get_it_are_said(tmp_path: Path, root: bool) -> None:
    machine = Machine(tmp_path / "machine", root=root)
    machine.has("apt-get", APT)
    machine.has("apt-cache", "exit 100")  # as on Ubuntu 24.04, which has 3.12
    code, told, called = machine.run()
    assert code == 1 and not any(" install " in line for line in called)
    first, *ways = told.splitlines()
    assert "Python 3.11 with venv is missing" in first and len(ways) == 2
    assert "astral.sh/uv/install.sh" in ways[0] and "deadsnakes" in ways[1]


def test_a_python_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine")
    machine.has("python3.12", "exit 1")
    code, told, _ = machine.run(PYTHON="python3.12")
    assert code == 1 and told == (
        "i2v3d: PYTHON=python3.12 is not Python 3.11 with venv; name one, or leave PYTHON out\n"
    )
