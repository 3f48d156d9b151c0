"""Single files that appear whole or not at all."""

import errno
import json
import os
from pathlib import Path

import pytest

from i2v3d.artifacts.files import read_json, replacing, write_json, write_text
from i2v3d.artifacts.folders import publish
from i2v3d.errors import ArtifactError


def test_a_file_takes_the_place_of_the_old_one_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "plan" / "a.json"
    write_json(path, {"b": 1, "a": [2.5]}, sort_keys=True)
    with replacing(path) as sibling:
        sibling.write_text('"new"')
        assert sibling.parent == path.parent
        assert read_json(path) == {"a": [2.5], "b": 1}
    assert read_json(path) == "new"
    assert list(path.parent.iterdir()) == [path]


def test_after_an_error_the_old_file_stays_alone(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(RuntimeError, match="boom"), replacing(tmp_path / "a") as sibling:
        sibling.write_text("half")
        raise RuntimeError("boom")
    with pytest.raises(ArtifactError, match="not finite"):
        write_json(tmp_path / "a", {"psnr": float("inf")})
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "old")]


def test_a_file_is_as_readable_as_its_folder(tmp_path: Path) -> None:
    with replacing(tmp_path / "weights") as sibling:
        sibling.write_text("1")
        sibling.chmod(0o600)
    assert (tmp_path / "weights").stat().st_mode & 0o444 == tmp_path.stat().st_mode & 0o444


@pytest.mark.parametrize("folder", [False, True])
def test_contents_are_on_the_disk_before_the_name(
    folder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for name in ("fsync", "replace", "rename"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, n=name, call=real: (done.append(n), call(*given))[1])
    if folder:
        with publish(tmp_path / "key") as made:
            (made / "a").write_text("1")
        assert done == [
            "fsync",
            "fsync",
            "fsync",
            "rename",
            "fsync",
        ]  # the file, the manifest, their folder, the name
    else:
        write_text(tmp_path / "a", "1")
        assert done == ["fsync", "replace", "fsync"]
        write_text(tmp_path / "a", "2", durable=False)
        assert done[3:] == ["replace"]


def test_a_full_disk_and_a_place_that_is_none_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"cannot write .*file/a \(File exists\); free or unlock"):
        write_text(tmp_path / "file" / "a", "")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError, match="No space left on device"):
        write_text(tmp_path / "b", "1")
    with pytest.raises(ArtifactError, match=r"cannot publish .*No space left"), publish(tmp_path / "key"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_damaged_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({})[:1])
    with pytest.raises(ArtifactError, match=r"a\.json cannot be read"):
        read_json(tmp_path / "a.json")
