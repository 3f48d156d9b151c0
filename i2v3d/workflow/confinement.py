"""Scene files of other people: nothing that they name may lie outside the scene's own folder, or run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from i2v3d.errors import ConfigError, InputError
from i2v3d.stages.registry import STAGES

SCENES = Path("scenes")
COMMAND = "command"  # options of this name run a program


def check_confined(scene: Mapping[str, Any]) -> None:
    """Raises InputError unless every file that a scene's options name lies in scenes/NAME, links followed,
    and ConfigError if its name is no folder's name or it runs a command. No file is read."""
    name = scene.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.+-]*", name):
        raise ConfigError(f"scene.name is {name!r}; expected letters, digits and . _ + - only")
    folder = (SCENES / name).resolve()
    for path, option in STAGES["scene"].stated_files(scene):
        if not isinstance(path, str) or not Path(path).resolve().is_relative_to(folder):
            raise InputError(
                f"scene.{option} names {path}, outside {SCENES / name}; copy the file there if you trust it, "
                "or run without untrusted_scene=true"
            )
    for option, words in _commands(scene, "scene"):
        raise ConfigError(
            f"{option} would run {words!r}; set it to null, or run without untrusted_scene=true if you trust it"
        )


def _commands(value: Any, option: str) -> Iterator[tuple[str, str]]:
    """Every option that runs a program, with its words."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            if key == COMMAND and isinstance(entry, str) and entry.strip():
                yield f"{option}.{key}", entry
            yield from _commands(entry, f"{option}.{key}")
    elif isinstance(value, list | tuple):
        for number, entry in enumerate(value):
            yield from _commands(entry, f"{option}[{number}]")
