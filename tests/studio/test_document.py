"""The studio's edits of a scene's file: what changes, what stays, and whose edits are kept."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from i2v3d.errors import ConfigError
from i2v3d.studio.document import SceneDocument
from i2v3d.studio.yaml_edit import Edit, applied, edited, flow

SHIPPED = sorted(Path("conf/scene").glob("*.yaml"))
KEY = {"frame": 3, "position_m": [0.1, 0, 1], "look_at_m": [0, 2, 0.6], "rotation_deg": None, "fov_deg": None,
       "interpolation": "BEZIER"}  # fmt: skip


def _read(text: str) -> Any:
    """As `yaml.safe_load`, in a tenth of the time."""
    return yaml.load(text, yaml.CSafeLoader)


def _leaves(data: object, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], object]]:
    """Every value of plain data that is no mapping or filled list, with its path."""
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    found = [leaf for key, value in entries for leaf in _leaves(value, (*path, key))]
    return found or [(path, data)]


def _comments(text: str) -> list[str]:
    return [line[line.index("#") :] for line in text.splitlines() if "#" in line]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_changed_value_is_all_that_changes(file: Path) -> None:
    text = file.read_text()
    data = _read(text)
    for path, _ in _leaves(data)[::7]:
        new = edited(text, [Edit(path, 4.25)], data)
        assert _read(new) == applied(data, Edit(path, 4.25)), path
        assert _comments(new) == _comments(text), path
        differing = [
            pair for pair in zip(text.splitlines(), new.splitlines(), strict=True) if pair[0] != pair[1]
        ]
        assert len(differing) == 1, path


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_entries_of_lists_come_and_go_with_comments_in_their_places(file: Path) -> None:
    text = file.read_text()
    data = _read(text)
    for option in (("camera", "moves"), ("keys",), ("camera", "keys")):
        inherited = {"camera": {"moves": [], "keys": []}, "keys": [], **data}
        inherited["camera"] = {"moves": [], "keys": [], **inherited["camera"]}
        entries = inherited["camera"][option[1]] if len(option) > 1 else inherited["keys"]
        for index in range(len(entries) + 1):
            there = Edit((*option, index), KEY, "insert")
            new = edited(text, [there], inherited)
            found = _read(new)
            for part in option:
                found = found[part]
            assert found[index] == KEY and len(found) == len(entries) + 1
            assert _comments(new) == _comments(text)
            gone = edited(new, [Edit((*option, index), None, "delete")], applied(inherited, there))
            back = _read(gone)
            for part in option:
                back = back[part]
            assert back == entries


def test_what_a_file_inherits_is_written_where_it_changes() -> None:
    resolved = {"camera": {"keys": [], "fov_deg": 45, "moves": [{"kind": "orbit", "amount": 10}]}, "keys": []}
    text = "defaults: [photo, _self_]\nname: mug # of the scene\n"
    new = edited(text, [Edit(("camera", "moves", 0, "amount"), 20.0)], resolved)
    assert _read(new)["camera"] == {"moves": [{"kind": "orbit", "amount": 20.0}]}
    new = edited(new, [Edit(("camera", "handheld"), {"seed": 0})], resolved)
    assert _read(new)["camera"]["handheld"] == {"seed": 0}
    assert new.startswith(text)


def test_values_that_hydra_would_evaluate_are_refused() -> None:
    for value in ("${oc.env:HOME}", {"a": ["${seed}"]}):
        with pytest.raises(ConfigError, match="evaluated"):
            edited("name: mug\n", [Edit(("class_name",), value)], {})


def test_anchors_are_refused_and_nothing_is_written() -> None:
    with pytest.raises(ConfigError, match="anchors"):
        edited("a: &x [1]\nb: *x\n", [Edit(("a",), 2)], {"a": [1], "b": [1]})


@pytest.mark.slow
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
        lambda x: st.lists(x),
        max_leaves=6,
    )
)
def test_any_plain_value_is_read_back_as_it_was(value: object) -> None:
    assert _read(flow(value)) == value


def test_numbers_keep_six_digits() -> None:
    assert flow([1.23456789, -0.0, 1e-9]) == "[1.234568, 0, 0]"


# ---------------------------------------------------------------- the file on disk
def _document(folder: Path, text: str = "name: mug # of the scene\nfps: 8\n") -> SceneDocument:
    (folder / "scene").mkdir(exist_ok=True)
    (folder / "scene" / "mug.yaml").write_text(text)
    return SceneDocument(folder, "mug", folder / "lock")


def _nothing() -> None:
    """Accepts every edit."""


def test_edits_are_on_disk_and_are_undone_and_redone(tmp_path: Path) -> None:
    document = _document(tmp_path)
    document.edit([Edit(("fps",), 12)], {}, _nothing)
    document.edit([Edit(("fps",), 24)], {}, _nothing)
    assert document.file.read_text() == "name: mug # of the scene\nfps: 24\n"
    document.undo(_nothing)
    assert "fps: 12" in document.file.read_text() and document.can_redo
    document.undo(_nothing)
    document.undo(_nothing)  # nothing is left: stays
    assert "fps: 8" in document.file.read_text() and not document.can_undo
    document.redo(_nothing)
    document.redo(_nothing)
    assert "fps: 24" in document.file.read_text() and not document.can_redo


def test_what_is_not_accepted_is_taken_back(tmp_path: Path) -> None:
    document = _document(tmp_path)

    def refuse() -> None:
        raise ConfigError("no")

    with pytest.raises(ConfigError):
        document.edit([Edit(("fps",), 12)], {}, refuse)
    assert "fps: 8" in document.file.read_text() and not document.can_undo


def test_somebody_elses_edit_is_not_overwritten(tmp_path: Path) -> None:
    one = _document(tmp_path)
    other = SceneDocument(tmp_path, "mug", tmp_path / "lock")
    other.edit([Edit(("fps",), 30)], {}, _nothing)
    assert one.changed_outside()
    with pytest.raises(ConfigError, match="changed by somebody else"):
        one.edit([Edit(("fps",), 12)], {}, _nothing)
    assert "fps: 30" in one.file.read_text()
    one.reload()
    one.edit([Edit(("name",), "cup")], {}, _nothing)
    assert one.file.read_text() == "name: cup # of the scene\nfps: 30\n"
    one.undo(_nothing)
    one.undo(_nothing)
    assert "fps: 8" in one.file.read_text()


def test_edits_of_two_threads_are_both_kept(tmp_path: Path) -> None:
    document = _document(tmp_path, "".join(f"v{n}: 0\n" for n in range(20)))
    threads = [
        threading.Thread(target=document.edit, args=([Edit((f"v{n}",), n)], {}, _nothing)) for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _read(document.file.read_text()) == {f"v{n}": n for n in range(20)}


@pytest.mark.parametrize("name", ["../photo", "/etc/passwd", "a/b", "", "."])
def test_names_cannot_leave_the_folder_of_scenes(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        SceneDocument(tmp_path, name, tmp_path / "lock")
