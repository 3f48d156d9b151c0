"""Every file and folder that the documents name is there."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`([\w.*/<>-]+)`|\]\(([\w./-]+)(?:#[\w-]*)?\)")
PLACEHOLDER = re.compile(r"<\w+>|\b(?:NAME|GROUP|OWNER|RUN|VARIANT|N{4})\b")
# What a reader of docs/scene.md, or who fetches networks, puts there.
MADE = {
    "conf/scene/mug.yaml",
    "scenes/mug",
    "weights/evaluation/lpips/lpips_alex.safetensors",
    "weights/local",
}
RUNS = "results"  # what runs write is nowhere in the repository


def tracked(ending: str = "") -> list[str]:
    """The repository's files, those that are not yet committed included."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.splitlines() if name.endswith(ending)]


def missing_paths(text: str, folder: str, files: list[str]) -> list[str]:
    """Which paths of the repository a document in `folder` names that are not among its files or their folders.

    A path is what begins with a folder of the repository's top, seen from there or from the document, or is a link
    or a Python module by the end of its path. Placeholders stand for any name.
    """
    there = {*files, *(str(parent) for name in files for parent in Path(name).parents)}
    tops = {name.split("/")[0] for name in files if "/" in name} - {RUNS}
    missing = []
    for quoted, link in NAMED.findall(text):
        name = PLACEHOLDER.sub("*", str(Path(quoted or link)))
        if link:
            wanted = {os.path.normpath(Path(folder, name))}
        elif "/" in name and name.split("/")[0] in tops:
            wanted = {name, str(Path(folder, name))}
        elif name.endswith(".py"):
            wanted = {"*/" + name}
        else:
            continue
        if not wanted & MADE and not any(fnmatch.filter(there, path) for path in wanted):
            missing.append(quoted or link)
    return missing


@pytest.mark.parametrize("document", tracked(".md"))
def test_every_path_of_the_documents_is_there(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert missing_paths(text, str(Path(document).parent), tracked()) == []


def broken_rows(text: str) -> list[str]:
    """Rows of Markdown tables that have another number of columns than the one above, or stand below an empty line."""
    broken, above = [], 0
    lines = re.sub(r"```.*?```", "", text, flags=re.DOTALL).splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        columns = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        begins = columns and not above and not re.match(r"\|[ |:-]*-[ |:-]*$", following)
        if (
            begins
            or (columns and above and columns != above)
            or (columns and not line.rstrip().endswith("|"))
        ):
            broken.append(line)
        above = columns
    return broken


@pytest.mark.parametrize("document", tracked(".md"))
def test_tables_of_the_documents_are_whole(document: str) -> None:
    assert broken_rows((ROOT / document).read_text(encoding="utf-8")) == []


def test_broken_tables_are_found() -> None:
    whole = "| a | b |\n| --- | --- |\n| 1 | `x\\|y` |\n"
    assert broken_rows(whole) == []
    for added in ("| 1 |\n", "\n| 1 | 2 |\n", "| 1 | 2\n"):
        assert broken_rows(whole + added), added


def test_what_is_gone_is_found() -> None:
    files = ["i2v3d/scene/plane.py", "docs/method.md", "conf/scene/toy.yaml"]
    text = "`i2v3d/scene/`, `plane.py`, `scene/plane.py`, `conf/scene/NAME.yaml`, `results/x/y`, [m](method.md#a)"
    assert missing_paths(text, "docs", files) == []
    gone = "`i2v3d/plane.py`, `plane/plane.py`, `conf/video/NAME.yaml`, [m](../method.md), `image_plane.py`"
    assert missing_paths(gone, "docs", files) == [
        "i2v3d/plane.py", "plane/plane.py", "conf/video/NAME.yaml", "../method.md", "image_plane.py",
    ]  # fmt: skip


def test_measured_values_stand_beside_plain_and_name_their_device() -> None:
    measured = json.loads((ROOT / "benchmarks" / "results" / "h100.json").read_text())
    video = {"video_91_s", "video_91_4gpu_s"}
    wanted = {
        "lora_500_s",
        "keyframes_7_s",
        "segment_16_s",
        "peak_gib",
        "lean_gib",
        "sampling_ceiling_fraction",
    } | video
    assert wanted <= {name for name, value in measured.items() if isinstance(value, dict)}
    assert "H100" in measured["device"]
    for name in wanted:
        assert {"fast", "plain"} <= set(measured[name]), name
    for name in wanted - video:
        assert measured[name]["fast"] > 0, name
