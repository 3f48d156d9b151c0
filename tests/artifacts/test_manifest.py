"""A published folder knows what it holds: what changed afterwards is named before anybody computes with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from i2v3d.artifacts.folders import publish
from i2v3d.artifacts.manifest import MANIFEST, damaged_files, require_undamaged
from i2v3d.errors import ArtifactError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A published folder with a file below it and a link."""
    with publish(tmp_path / "key with blanks") as made:
        (made / "frames").mkdir()
        (made / "frames" / "0001.png").write_bytes(b"picture")
        (made / "latents").write_bytes(b"numbers")
        (made / "link").symlink_to("latents")
    return tmp_path / "key with blanks"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


def test_an_untouched_folder_is_whole_and_nothing_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("i2v3d.artifacts.manifest._hash", lambda path: pytest.fail(f"read {path}"))
    assert damaged_files(folder) == []
    (folder / ".snakemake_timestamp").touch()
    assert damaged_files(folder) == [], "what others add is no damage"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: flip(f / "frames" / "0001.png"), "frames/0001.png holds something else"),
        (lambda f: (f / "latents").write_bytes(b"numb"), "latents has 4 bytes instead of 7"),
        (lambda f: (f / "latents").unlink(), "latents cannot be read (No such file or directory)"),
        (lambda f: (f / MANIFEST).write_text('{"latents": ['), ".manifest.json cannot be read"),
        (lambda f: (f / MANIFEST).write_text("[1]"), ".manifest.json cannot be read"),
    ],
)
def test_what_changed_is_named_and_moved_aside_to_be_made_anew(folder: Path, change, told: str) -> None:
    change(folder)
    with pytest.raises(ArtifactError) as raised:
        require_undamaged(folder)
    assert told in str(raised.value) and "run the same command again to make it anew" in str(raised.value)
    assert "\n" not in str(raised.value)
    (aside,) = folder.parent.glob(".*.damaged-*")
    assert not folder.exists() and str(aside) in str(raised.value)
    with publish(folder) as made:
        (made / "latents").write_bytes(b"numbers")
    assert damaged_files(folder) == []


def test_what_cannot_be_moved_is_told_with_the_command_that_removes_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    flip(folder / "latents")
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(ArtifactError) as raised:
        require_undamaged(folder)
    assert f"remove it by `rm -r '{folder}'`, run the same command again" in str(raised.value)


def test_a_copy_of_other_times_is_read_once_and_then_known(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(folder / "latents", (1, 1))
    assert damaged_files(folder) == []
    monkeypatch.setattr("i2v3d.artifacts.manifest._hash", lambda path: pytest.fail(f"read {path}"))
    assert damaged_files(folder) == []


def test_folders_of_versions_without_a_manifest_are_taken_as_they_are(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    flip(folder / "latents")
    assert damaged_files(folder) == []
