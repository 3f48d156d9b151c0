"""What lies in results/: runs, their variants, and what of each can be looked at."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from i2v3d.config.names import check_name
from i2v3d.config.yaml_files import read_yaml
from i2v3d.errors import ConfigError, I2V3DError
from i2v3d.studio.place import RESULTS

SHEETS = ("contact_sheet.png", "preview/sheet.png")
FILMS = ("video.mp4", "coarse.mp4", "preview/coarse.mp4")


@dataclass(frozen=True)
class Entry:
    """A variant of a run. picture, film, frame: a sheet, the film that shows most and a frame of it, as paths below
    results/, as the page asks for them. changed: seconds."""

    run: str
    variant: str
    picture: str | None
    film: str | None
    frame: str | None
    changed: float

    @property
    def name(self) -> str:
        return f"{self.run}/{self.variant}"

    @property
    def finished(self) -> bool:
        return self.film is not None and self.film.endswith("/video.mp4")


def entries(here: Path) -> list[Entry]:
    """All variants, the latest first."""
    found = [_entry(here, folder) for folder in (here / RESULTS).glob("*/*")]
    return sorted((entry for entry in found if entry is not None), key=lambda entry: -entry.changed)


def _entry(here: Path, folder: Path) -> Entry | None:
    """What a folder shows; None if it is no variant, or has nothing yet."""
    try:
        name = f"{check_name(folder.parent.name, 'run')}/{check_name(folder.name, 'variant')}"
    except ConfigError:
        return None
    film, picture = (
        next((f"{name}/{file}" for file in files if (folder / file).is_file()), None)
        for files in (FILMS, SHEETS)
    )
    shown = [here / RESULTS / path for path in (film, picture) if path is not None]
    if not shown:
        return None
    frames = sorted((folder / "frames").glob("*.png"))
    frame = f"{name}/frames/{frames[len(frames) // 2].name}" if frames else None
    changed = max(file.stat().st_mtime for file in shown)
    return Entry(folder.parent.name, folder.name, picture, film, frame, changed)


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
