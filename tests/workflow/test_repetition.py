"""What Hydra is spared changes nothing of what it composes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from i2v3d.workflow.composition import Composer


def conf(folder: Path, **texts: str) -> Path:
    """A configuration of two groups with the options `one` and `two`. texts: config.yaml without its extension."""
    for group in ("first", "second"):
        (folder / group).mkdir()
        for option in ("one", "two"):
            (folder / group / f"{option}.yaml").write_text(f"chosen: {option}\nlist: [1]\n")
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def composed(folder: Path, *words: str) -> dict[str, Any]:
    return Composer(folder, None).variant("base", words).config


def test_a_default_may_name_the_choice_of_another_group(tmp_path: Path) -> None:
    conf(tmp_path, config="defaults:\n  - first: one\n  - second: ${first}\n  - _self_\n")
    assert composed(tmp_path)["second"]["chosen"] == "one"
    assert composed(tmp_path, "first=two")["second"]["chosen"] == "two"


def test_files_with_equal_texts_are_changed_apart(tmp_path: Path) -> None:
    conf(tmp_path, config="defaults:\n  - first: one\n  - second: one\n  - _self_\nfirst:\n  list: [2]\n")
    one = {"chosen": "one", "list": [1]}
    assert composed(tmp_path, "first.chosen=x") == {"first": {"chosen": "x", "list": [2]}, "second": one}
    assert composed(tmp_path) == {"first": {"chosen": "one", "list": [2]}, "second": one}


def test_a_file_that_was_changed_is_read_anew(tmp_path: Path) -> None:
    conf(tmp_path, config="defaults:\n  - first: one\n  - _self_\n")
    assert composed(tmp_path)["first"]["chosen"] == "one"
    (tmp_path / "first" / "one.yaml").write_text("chosen: three\n")
    assert composed(tmp_path) == {"first": {"chosen": "three"}}
