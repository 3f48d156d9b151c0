"""A variant's folder of results: links into the cache."""

from pathlib import Path

import pytest

from i2v3d.errors import ArtifactError
from i2v3d.workflow.results import link_keyframes


def _keyframes(cache: Path, key: str, *names: str) -> None:
    folder = cache / "keyframes" / key
    folder.mkdir(parents=True)
    for name in (*names, "stage.json"):
        (folder / name).write_text(key)


def test_keyframes_are_linked_and_old_links_go(tmp_path: Path) -> None:
    _keyframes(tmp_path, "one", "0001.png", "0008.png")
    _keyframes(tmp_path, "two", "0001.png")
    folder = tmp_path / "results"
    found = []
    for key in ("one", "two", None):
        link_keyframes(folder, tmp_path, key)
        found.append({path.name: path.read_text() for path in folder.iterdir()})
    assert found == [{"0001.png": "one", "0008.png": "one"}, {"0001.png": "two"}, {}]


def test_what_is_no_link_is_left_alone(tmp_path: Path) -> None:
    _keyframes(tmp_path, "one", "0001.png")
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "0001.png").write_text("mine")
    with pytest.raises(ArtifactError, match="move it away"):
        link_keyframes(folder, tmp_path, "one")
    assert (folder / "0001.png").read_text() == "mine"
