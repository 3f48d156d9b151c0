"""A report's files appear together."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2v3d.report.files import replacing_contents


def told(folder: Path) -> dict[str, str]:
    """What is in a folder."""
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def write(folder: Path, text: str, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def test_files_and_folders_take_the_place_of_earlier_ones(tmp_path: Path) -> None:
    write(tmp_path, "old", "page.html", "plots/gone.svg", "others.txt")
    with replacing_contents(tmp_path) as made:
        write(made, "new", "page.html", "plots/there.svg")
        assert told(tmp_path)["page.html"] == "old"
    assert told(tmp_path) == {"page.html": "new", "plots/there.svg": "new", "others.txt": "old"}


def test_a_report_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    write(tmp_path, "old", "page.html")
    with pytest.raises(ZeroDivisionError), replacing_contents(tmp_path) as made:
        write(made, "new", "page.html")
        raise ZeroDivisionError
    assert told(tmp_path) == {"page.html": "old"}
