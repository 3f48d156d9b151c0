"""The runs of a benchmark: one a method, from the tables of its report."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2v3d.config.runtime import TrackingConfig
from i2v3d.workflow.provenance import code_versions
from i2v3d.workflow.tracking.variant import read_table
from i2v3d.workflow.tracking.wandb import Recorder, identifier, start


def comparison_runs(cfg: TrackingConfig, *, group: str, results: Path, directory: Path) -> None:
    """Writes a run for every method of a benchmark, from the files of its report.

    group: the benchmark's name. results: the report's folder, with summary.csv, scenes.csv, videos/ and
    report.html. directory: as in `stage_run`. Every score's mean, interval and number of clips are logged as
    'score', 'score/low', 'score/high' and 'score/n', the scores of the clips as a table, the method's videos,
    and the report. Raises ConfigError as `stage_run` does.
    """
    for method in compared_methods(results):
        name = f"{group}-{method.name}"
        wanted = {
            "id": identifier(f"{name}-{method.digest}"),
            "group": group,
            "job_type": "benchmark",
            "name": name,
        }
        recorder = Recorder(
            start(cfg, directory, {**wanted, "config": {"method": method.name, "code": method.code}})
        )
        recorder("metrics", method.scalars)
        recorder("table", {"name": "clips", "columns": method.columns, "rows": method.rows})
        for path in method.files:
            recorder("media", {"name": path.stem, "path": str(path)})
        recorder.finish(exit_code=0)


@dataclass(frozen=True)
class Method:
    """A method of a benchmark. scalars: score -> number; columns, rows: its clips' scores; files: its videos, and
    the report. digest: of its numbers. code: versions."""

    name: str
    scalars: dict[str, float]
    columns: list[str]
    rows: list[list[Any]]
    files: list[Path]
    digest: str
    code: dict[str, Any]


def compared_methods(results: Path) -> list[Method]:
    """Every method of a benchmark's report. Raises ArtifactError if the report's tables are missing."""
    summary, scenes = (read_table(results / name) for name in ("summary.csv", "scenes.csv"))
    found = []
    for name in dict.fromkeys(row["method"] for row in summary):
        scalars: dict[str, float] = {}
        for row in summary:
            if row["method"] == name:
                ends = {f"{row['metric']}/{end}": row[end] for end in ("low", "high", "n")}
                named = {row["metric"]: row["mean"], **ends}
                scalars |= {key: float(value) for key, value in named.items() if value}
        own = [row for row in scenes if row["method"] == name]
        rows = [[_number(value) for value in row.values()] for row in own]
        files = [*sorted((results / "videos").glob(f"*_{name}.mp4")), results / "report.html"]
        digest = hashlib.sha256(json.dumps(scalars, sort_keys=True).encode()).hexdigest()[:12]
        found.append(Method(name, scalars, list(scenes[0]), rows, files, digest, code_versions()))
    return found


def _number(text: str) -> float | str | None:
    try:
        return float(text) if text else None
    except ValueError:
        return text  # a word, such as what moves
