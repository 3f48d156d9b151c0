"""What lies in results/: runs, their variants, and what of each can be looked at."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from i2v3d.artifacts.folders import frame_name
from i2v3d.config.names import check_name
from i2v3d.config.yaml_files import read_yaml
from i2v3d.errors import ConfigError, I2V3DError
from i2v3d.studio.place import RESULTS

SHEETS = ("contact_sheet.png", "preview/sheet.png")
FILMS = ("video.mp4", "coarse.mp4", "preview/coarse.mp4")


@dataclass(frozen=True)
class Entry:
    """A variant of a run. picture, films: paths below results/, as the page asks for them. changed: seconds."""

    run: str
    variant: str
    picture: str | None
    films: tuple[str, ...]
    changed: float

    @property
    def finished(self) -> bool:
        return any(film.endswith("/video.mp4") for film in self.films)


def entries(here: Path) -> list[Entry]:
    """All variants, the latest first."""
    found = []
    for folder in (here / RESULTS).glob("*/*"):
        name = f"{folder.parent.name}/{folder.name}"
        if folder.parent.name.startswith(".") or not folder.is_dir():
            continue
        films = tuple(f"{name}/{film}" for film in FILMS if (folder / film).is_file())
        picture = next((f"{name}/{sheet}" for sheet in SHEETS if (folder / sheet).is_file()), None)
        if films or picture:
            files = [here / RESULTS / path for path in (*films, *([picture] if picture else []))]
            changed = max(file.stat().st_mtime for file in files)
            found.append(Entry(folder.parent.name, folder.name, picture, films, changed))
    return sorted(found, key=lambda entry: -entry.changed)


def variant_folder(here: Path, run: str, variant: str) -> Path:
    """results/RUN/VARIANT. Raises ConfigError for bad names, or if it is not there."""
    folder = here / RESULTS / check_name(run, "run") / check_name(variant, "variant")
    if not folder.is_dir():
        raise ConfigError(f"results/{run}/{variant} does not exist; run it first")
    return folder


def keyframes(here: Path, entry: Entry) -> list[tuple[int, str]]:
    """(frame, path below results/) of every keyframe."""
    folder = here / RESULTS / entry.run / entry.variant / "keyframes"
    return [
        (int(file.stem), f"{entry.run}/{entry.variant}/keyframes/{file.name}")
        for file in sorted(folder.glob("*.png"))
        if file.stem.isdecimal()
    ]


def passes(here: Path, entry: Entry, frame: int) -> dict[str, str]:
    """What a render has of a frame, as pictures: name -> path below results/."""
    base = f"{entry.run}/{entry.variant}/stages/render"
    found = {
        "foreground": f"{base}/fg_mask/{frame_name(frame)}",
        "visible": f"{base}/mask/{frame_name(frame)}",
    }
    return {name: path for name, path in found.items() if (here / RESULTS / path).is_file()}


def scores(here: Path, entry: Entry) -> dict[str, float]:
    """The numbers of a finished variant's metrics.json; none if it has not finished."""
    file = here / RESULTS / entry.run / entry.variant / "metrics.json"
    if not file.is_file():
        return {}
    data: dict[str, Any] = json.loads(file.read_text())
    return {name: float(value) for name, value in _numbers(data) if isinstance(value, int | float)}


def _numbers(data: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in data.items():
        if isinstance(value, dict):
            rows += _numbers(value, f"{prefix}{name}.")
        elif not isinstance(value, bool):
            rows.append((f"{prefix}{name}", value))
    return rows


def settings(here: Path, entry: Entry) -> tuple[list[str], dict[str, Any]]:
    """The Hydra words that made a variant, and its composed section `scene`. Raises ConfigError if it has no record."""
    folder = variant_folder(here, entry.run, entry.variant)
    try:
        words = json.loads((folder / "provenance.json").read_text())["overrides"]
        scene = read_yaml(folder / "config.yaml")["scene"]
    except (OSError, ValueError, KeyError, yaml.YAMLError, I2V3DError) as error:
        raise ConfigError(
            f"results/{entry.run}/{entry.variant} has no record of its settings ({error})"
        ) from error
    return [str(word) for word in words], scene
