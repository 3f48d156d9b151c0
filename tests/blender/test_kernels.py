"""Blender's kernels: which it has, and what becomes of code that is compiled for another card."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import files
from pathlib import Path

import pytest
import zstandard

from i2v3d.blender import kernels
from i2v3d.blender.kernels import compile_kernels, compiled_kernels, find_assembler, runs
from i2v3d.cli import main
from i2v3d.errors import MachineError

H100, RTX_4090 = (9, 0), (8, 9)
# Takes -arch=sm_90 ... -o OUT IN, and writes what it was told and the code.
ASSEMBLER = """#!/bin/sh
echo "$1 $2 $(cat $5)" > $4
"""


def brought() -> set[tuple[int, int]]:
    """The cards that the package bpy itself has kernels for."""
    found = (re.fullmatch(r"kernel_sm_(\d+)(\d)\.cubin\.zst", file.name) for file in files("bpy") or ())
    return {(int(match[1]), int(match[2])) for match in found if match}


def test_blender_brings_kernels_for_some_cards_only() -> None:
    compiled = compiled_kernels()
    made = {(9, 0), (8, 0)} - brought()  # here by the command, if they are
    shipped = compiled - made
    assert shipped == brought()
    assert runs(RTX_4090, shipped) and runs((7, 5), shipped)
    assert not runs(H100, shipped) and not runs((8, 0), shipped) and not runs(None, shipped)
    assert runs((8, 7), [(8, 6)]) and not runs((8, 5), [(8, 6)]) and not runs((9, 6), [(8, 6)])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Blender with kernels for 8.9, a half-written one, code for 5.2, 7.5 and 10.0, and an assembler on the path."""
    library = tmp_path / "bpy" / "__init__.so"
    lib = library.parent / "4.5" / "scripts" / "addons_core" / "cycles" / "lib"
    lib.mkdir(parents=True)
    (lib / "kernel_sm_89.cubin.zst").touch()
    (lib / ".kernel_sm_90.cubin.zst.tmp-killed-1").touch()
    for code in ("52", "75", "100"):
        (lib / f"kernel_compute_{code}.ptx.zst").write_bytes(zstandard.compress(f"code {code}".encode()))
    (tmp_path / "ptxas").write_text(ASSEMBLER)
    (tmp_path / "ptxas").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(kernels, "bpy_library", lambda: library)
    compiled_kernels.cache_clear()
    yield lib
    compiled_kernels.cache_clear()


def test_kernels_are_made_of_the_newest_code_and_found_from_then_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not runs(H100, compiled_kernels())
    assert main(["compile-kernels", "--card", "9.0"]) == 0
    file = folder / "kernel_sm_90.cubin.zst"
    assert capsys.readouterr().out.startswith(f"{file}: 0.0 MB")
    made = zstandard.decompress(file.read_bytes()).decode()
    assert made == "-arch=sm_90 --split-compile=0 code 75\n"
    assert runs(H100, compiled_kernels())
    assert [path.name for path in folder.glob("*sm*")].count(file.name) == 1
    assert [path.name for path in folder.glob(".*")] == [".kernel_sm_90.cubin.zst.tmp-killed-1"]
    assert main(["compile-kernels", "--card", "9.0"]) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--card", "3.0"], "has no code for cards of version 3.0"),
        (["--card", "nine"], "'nine' is no version of a GPU; expected MAJOR.MINOR"),
        ([], "name one with --card"),
    ],
)
def test_what_cannot_be_compiled_is_a_line(
    words: list[str],
    said: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["compile-kernels", *words]) == 2
    assert said in capsys.readouterr().err


def test_an_assembler_that_fails_or_lacks_is_told_and_leaves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ptxas").write_text("#!/bin/sh\necho 'sm_90 is not known' >&2; exit 1\n")
    with pytest.raises(MachineError, match=r"sm_90 is not known.*newer CUDA toolkit"):
        compile_kernels(H100)
    assert not list(folder.glob("kernel_sm_90*"))
    (tmp_path / "ptxas").unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(kernels, "_SYSTEM", tmp_path)
    monkeypatch.setattr(kernels, "_BUNDLED", {"not_installed": ("bin",)})
    with pytest.raises(MachineError, match="install the Python package triton"):
        find_assembler()
    bundled = tmp_path / "pytest_bundled" / "bin"
    bundled.mkdir(parents=True)
    (bundled / "ptxas").write_text(ASSEMBLER)
    (bundled / "ptxas").chmod(0o755)
    (bundled.parent / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(kernels, "_BUNDLED", {"pytest_bundled": ("bin",)})
    assert find_assembler() == bundled / "ptxas"
