"""The run of a variant: its scores and pictures, the scalars of its stages, and what came from what."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from i2v3d.artifacts.folders import frame_name, segment_name
from i2v3d.config.runtime import TrackingConfig
from i2v3d.errors import ArtifactError
from i2v3d.stages.registry import STAGES
from i2v3d.workflow.tracking.wandb import Recorder, identifier, stage_name, start

VIDEO = "video"
METRICS = "metrics.jsonl"


def variant_run(
    cfg: TrackingConfig,
    *,
    group: str,
    name: str,
    config: Mapping[str, Any],
    stages: Sequence[Mapping[str, Any]],
    results: Path,
    directory: Path,
) -> None:
    """Writes the run of one variant from the files of its finished stages.

    group: the run's name. name: the variant's. config: the resolved configuration. stages: the records of
    all its stages (stage, key, segment or None, and numbers such as wall_s). results: the variant's folder,
    with stages/<stage>/[segment_000/]metrics.jsonl, video.mp4 and keyframes/. directory: as in `stage_run`.
    Each stage's numbers and the last value of each of its scalars are logged as 'stage/scalar'; its run
    and folder are linked in `config['stages']` and in the notes. The scores of metrics.csv are logged frame by
    frame, those of keyframes with their pictures as a table, and every stage's result as an artefact that says
    what it was made from (by reference: the files stay where they are).
    Raises ArtifactError for an unreadable metrics file, and ConfigError as `stage_run` does.
    """
    scalars, links = stage_scalars(stages, results)
    keys = hashlib.sha256("".join(link["run"] for link in links.values()).encode()).hexdigest()[:12]
    wanted = {
        "id": identifier(f"variant-{group}-{name}-{keys}"),
        "group": group,
        "job_type": "variant",
        "name": name,
        "config": {**config, "stages": links},
        "notes": "\n".join(
            f"{label}: run {link['run']}, {link['directory']}" for label, link in links.items()
        ),
    }
    recorder = Recorder(start(cfg, directory, wanted))
    for row in frame_rows(results):
        recorder("metrics", row)
    recorder("metrics", scalars)
    columns, rows = keyframe_table(results)
    if rows:
        recorder("table", {"name": "keyframe_scores", "columns": columns, "rows": rows})
    for artefact in stage_artifacts(stages, results):
        recorder("artifact", artefact)
    for path in (*sorted(results.glob("*.mp4")), *sorted(results.glob("*.png"))):
        recorder("media", {"name": path.stem, "path": str(path)})
    for path in sorted((results / "keyframes").glob("*.png")):
        recorder("media", {"name": f"keyframes/{path.stem}", "path": str(path)})
    recorder.finish(exit_code=0)


def stage_scalars(
    records: Sequence[Mapping[str, Any]], results: Path
) -> tuple[dict[str, float], dict[str, dict[str, str]]]:
    """'stage/scalar' -> number of all stages of a variant, and where each stage's run and folder are.

    Raises ArtifactError for an unreadable metrics file.
    """
    scalars: dict[str, float] = {}
    links: dict[str, dict[str, str]] = {}
    for record in records:
        parts = [record["stage"], *([] if record["segment"] is None else [segment_name(record["segment"])])]
        label, folder = "/".join(parts), results.joinpath("stages", *parts).resolve()
        own = {k: v for k, v in record.items() if isinstance(v, float)}
        scalars |= {f"{label}/{k}": v for k, v in {**last_scalars(folder / METRICS), **own}.items()}
        run = stage_name(record["stage"], record["key"], record["segment"])
        links[label] = {"run": run, "directory": str(folder)}
    return scalars, links


def stage_artifacts(records: Sequence[Mapping[str, Any]], results: Path) -> list[dict[str, Any]]:
    """One artefact a stage: {"name": stage-key, "type": stage, "metadata", "files": name -> path}.

    records: of the variant's stages (stage, key, segment, upstream, wall_s). The metadata name the artefacts that
    it was made from, so that photo -> scene -> renders -> LoRA -> keyframes -> video can be followed offline.
    results: the variant's folder, with stages/<stage>/.
    """
    made: dict[str, dict[str, Any]] = {}
    for record in records:
        stage, key = record["stage"], record["key"]
        folder = results / "stages" / stage
        if record["segment"] is not None:
            folder /= segment_name(record["segment"])
        origins = [f"{name}-{of}" for name, of in record.get("upstream", {}).items()]
        entry = made.setdefault(
            stage,
            {
                "name": f"{stage}-{key}",
                "type": stage,
                "metadata": {"made_from": origins, "folder": str((results / "stages" / stage).resolve())},
                "files": {},
            },
        )
        entry["metadata"]["wall_s"] = entry["metadata"].get("wall_s", 0.0) + record["wall_s"]
        for pattern in STAGES[stage].publishes:
            for path in sorted(folder.glob(pattern)):
                entry["files"][str(path.relative_to(results / "stages" / stage))] = path.resolve()
    return list(made.values())


def frame_rows(results: Path) -> list[dict[str, float]]:
    """The scores of the video frame by frame, {"step": frame, "frame/psnr": ...}; none without metrics.csv."""
    return [
        {
            "step": float(row["frame"]),
            **{
                f"frame/{name}": float(value)
                for name, value in row.items()
                if name not in ("clip", "frame", "keyframe") and value
            },
        }
        for row in _rows(results)
        if row["clip"] == VIDEO
    ]


def keyframe_table(results: Path) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of a table of the keyframes: coarse, generated and, where known, true picture, and scores.

    Pictures are paths; empty without metrics.csv.
    """
    rows = [row for row in _rows(results) if row["clip"] == VIDEO and row["keyframe"] == "1"]
    pictures = {
        "coarse": results / "stages" / "render" / "rgb",
        "generated": results / "stages" / "assemble" / "frames",
        "truth": results / "stages" / "scene" / "truth" / "photo",
    }
    there = {name: folder for name, folder in pictures.items() if folder.is_dir()}
    scores = [name for name in (rows[0] if rows else {}) if name not in ("clip", "frame", "keyframe")]
    table = [
        [
            int(row["frame"]),
            *(folder / frame_name(int(row["frame"])) for folder in there.values()),
            *(float(row[name]) if row[name] else None for name in scores),
        ]
        for row in rows
    ]
    return ["frame", *there, *scores], table


def last_scalars(metrics_file: Path) -> dict[str, float]:
    """The last value of every scalar in a stage's JSON lines of metrics, 'step' left out; {} without a file.

    Raises ArtifactError if a line is not a JSON object.
    """
    scalars: dict[str, float] = {}
    if not metrics_file.exists():
        return scalars
    try:
        for line in metrics_file.read_text().splitlines():
            scalars.update(json.loads(line))
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(
            f"{metrics_file} is not a file of JSON lines ({error}); delete its stage and re-run it"
        ) from error
    scalars.pop("step", None)
    return scalars


def _rows(results: Path) -> list[dict[str, str]]:
    path = results / "metrics.csv"
    return read_table(path) if path.is_file() else []


def read_table(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror}); run snakemake again") from error
