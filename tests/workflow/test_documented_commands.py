"""Commands of the documents can be typed: their options are there, and the words of video backbones compose."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from i2v3d.commands.tree import parse
from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.selection import validate_sections

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
COMMAND = re.compile(r"`(i2v3d [^`\n]+)`|^(?:[A-Z]  )?(i2v3d [^\n]+)$", re.MULTILINE)
SCENES = re.compile(r"\bscene=(mug|NAME)\b")  # of the reader's own
OPEN = re.compile(r"\.\.\.|\b[A-Z]{2,}(?!-)\b")  # what stands for something else


def commands(document: str) -> list[str]:
    """Those with words for Hydra, as they are typed."""
    text = re.sub(r"\\\n\s*", "", (ROOT / document).read_text(encoding="utf-8"))
    said = [
        SCENES.sub("scene=coffee", (quoted or line).partition("#")[0]).strip()
        for quoted, line in COMMAND.findall(text)
    ]
    return sorted({one for one in said if "=" in one and not OPEN.search(one.partition("=")[0])})


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documented_commands_are_parsed(document: str) -> None:
    for command in commands(document):
        words = shlex.split(command)[1:]
        own = words[: words.index("--")] if "--" in words else words
        assert sorted(parse(words).words) == sorted(word for word in own if "=" in word), command


@pytest.mark.parametrize("command", commands("docs/backbones.md"))
def test_words_of_the_page_about_backbones_compose(command: str) -> None:
    options = parse(shlex.split(command)[1:])
    for variant in compose_variants(
        ROOT / "conf", options.words, multirun=getattr(options, "multirun", False)
    ):
        validate_sections(variant.config)


def test_the_pages_name_the_commands_of_both_families() -> None:
    assert "i2v3d models=wan_vace scene=coffee run=mug" in commands("docs/backbones.md")
    assert any("--memory 24g 16g" in command for command in commands("docs/performance.md"))
