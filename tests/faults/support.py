"""A project that a user has broken, and what the program has to say about it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from i2v3d.errors import I2V3DError
from i2v3d.workflow.composition import Composer
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.plan import make_plan

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"


def refused(call: Callable[..., object], *arguments: Any) -> str:
    """The one line that the user sees; snakemake and the command line exit with code 2 after it."""
    with pytest.raises(I2V3DError) as raised:
        call(*arguments)
    line = str(raised.value)
    assert line.strip() and "\n" not in line and "Traceback" not in line
    assert len(line) < 600, "a line that nobody reads"
    return line


def plan_words(composer: Composer, words: list[str]) -> object:
    """Composes and validates, as planning does; nothing is written."""
    return make_plan([composer.variant("base", words)], Fingerprints(Path("absent")))


def contents(folder: Path) -> dict[str, str]:
    """Hash of every file below `folder`."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
