"""What the run of a variant tells beside its scalars: a row a frame, a table of pictures, and what came from what."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from i2v3d.artifacts import frame_name, segment_name
from i2v3d.errors import ArtifactError

VIDEO = "video"
# The files that stand for a stage's result.
RESULTS = {
    "scene": ("photo.png", "scene.json"),
    "render": ("cameras.json",),
    "views": ("cameras.json",),
    "lora": ("pytorch_lora_weights.safetensors",),
    "keyframe_inversion": ("latents.safetensors",),
    "keyframes": ("*.png",),
    "interpolation_inversion": ("latents.safetensors",),
    "assemble": ("video.mp4",),
    "evaluate": ("metrics.json", "metrics.csv"),
}


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
        for pattern in RESULTS.get(stage, ("*.png",)):
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
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
