"""metrics.json: what a stage measured, in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from i2v3d.artifacts.files import read_json, write_json
from i2v3d.errors import ArtifactError

METRICS_FILE = "metrics.json"


def write_metrics(folder: Path, values: Mapping[str, Any]) -> None:
    """Writes folder/metrics.json. Raises ArtifactError if a number is not finite."""
    write_json(folder / METRICS_FILE, dict(values))


def read_metrics(folder: Path) -> dict[str, Any]:
    """Reads folder/metrics.json. Raises ArtifactError if it is missing or damaged."""
    values = read_json(folder / METRICS_FILE)
    if not isinstance(values, dict):
        raise ArtifactError(f"{folder / METRICS_FILE} holds no metrics; delete {folder} and re-run its stage")
    return values
