"""A variant's folder of results: links into the cache."""

import json
from pathlib import Path

import pytest

from i2v3d.artifacts.folders import publish
from i2v3d.errors import ArtifactError
from i2v3d.report.preview import write_preview
from i2v3d.workflow.results import link_keyframes, publish_variant

KEY = "0" * 12
VARIANT = {
    "name": "base",
    "overrides": [],
    "config": {},
    "keys": {"assemble": KEY},
    "segments": 1,
    "run": "demo",
}


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


def test_a_film_that_changed_in_the_cache_is_not_shown(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "assemble" / KEY
    with publish(folder) as made:
        (made / "stage.json").write_text("{}")
        (made / "video.mp4").write_bytes(b"film")
    (folder / "video.mp4").write_bytes(b"fiLm")
    file = tmp_path / "variant.json"
    file.write_text(json.dumps(VARIANT))
    with pytest.raises(ArtifactError, match=r"video.mp4 holds something else; .* same command again"):
        publish_variant(file, tmp_path / "cache", tmp_path / "settings.json", tmp_path / "out")
    assert not folder.exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", json.dumps({**VARIANT, "more": 1})])
def test_a_broken_file_of_a_variant_is_a_line(text: str | None, tmp_path: Path) -> None:
    file = tmp_path / "variant.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ArtifactError, match=r"is not a planned variant \(.*run snakemake again to re-plan"):
        publish_variant(file, tmp_path, tmp_path / "settings.json", tmp_path / "out")
    with pytest.raises(ArtifactError, match="is not a planned variant"):
        write_preview(file, tmp_path, tmp_path / "out")
