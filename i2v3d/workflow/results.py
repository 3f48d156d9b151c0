"""results/<run>/<variant>/: links into the cache, and the record of what made them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from i2v3d.artifacts.manifest import require_undamaged
from i2v3d.errors import ArtifactError
from i2v3d.workflow.finished import RECORD
from i2v3d.workflow.plan import Plan, read_variant, stage_dirs
from i2v3d.workflow.provenance import code_versions, machine
from i2v3d.workflow.runner import Settings
from i2v3d.workflow.tracking.variant import variant_run

RECORDED = ("stage", "key", "segment", "device", "threads", "started", "wall_s", "peak_memory_mb")
FIRST = (
    "video.mp4",
    "coarse.mp4",
    "side_by_side.mp4",
    "keyframes",
    "contact_sheet.png",
    "metrics.json",
    "metrics.csv",
    "config.yaml",
    "provenance.json",
)
LINKS = {
    "assemble": ("video.mp4", "coarse.mp4", "side_by_side.mp4", "contact_sheet.png", "frames"),
    "evaluate": ("metrics.json", "metrics.csv", "curves.png"),
}


def result_files(plan: Plan) -> list[str]:
    """What a run is asked for: the video of every variant, and the page that compares them."""
    videos = [f"results/{plan.run}/{variant.name}/video.mp4" for variant in plan.variants]
    return [*videos, f"results/{plan.run}/comparison.html"]


def preview_files(plan: Plan) -> list[str]:
    """What a preview is asked for."""
    folders = [f"results/{plan.run}/{variant.name}/preview" for variant in plan.variants]
    return [f"{folder}/{name}" for folder in folders for name in ("coarse.mp4", "sheet.png")]


def finished_files(plan: Plan) -> list[Path]:
    """What a user looks at first, as far as the run went."""
    folders = (Path("results", plan.run, variant.name) for variant in plan.variants)
    return [path for folder in folders for name in FIRST for path in [folder / name] if path.exists()]


def publish_variant(variant_file: Path, cache: Path, settings: Path, out: Path) -> None:
    """Writes links, config.yaml and provenance.json of a finished variant, and its run in the tracker.

    Raises ArtifactError if one of the variant's stage folders is missing or changed.
    """
    variant = read_variant(variant_file)
    records = [json.loads((folder / RECORD).read_text()) for folder in _folders(variant, cache)]
    out.mkdir(parents=True, exist_ok=True)
    for stage, names in LINKS.items():
        for name in names:
            _link(out / name, cache / stage / variant["keys"][stage] / name)
    link_keyframes(out / "keyframes", cache, variant["keys"].get("keyframes"))
    for stage, key in variant["keys"].items():
        _link(out / "stages" / stage, cache / stage / key)
    (out / "config.yaml").write_text(yaml.safe_dump(variant["config"], sort_keys=False, allow_unicode=True))
    record = provenance(variant, records)
    (out / "provenance.json").write_text(json.dumps(record, indent=1) + "\n")
    run = Settings.load(settings)
    (cache / "tracking").mkdir(exist_ok=True)
    variant_run(
        run.tracking,
        group=run.run,
        name=variant["name"],
        config={**variant["config"], "code": record["versions"]},
        stages=records,
        results=out,
        directory=cache / "tracking",
    )


def provenance(variant: dict[str, Any], records: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything that went into a variant: overrides, seeds, keys, file hashes, versions, times, memory."""
    config = variant["config"]
    files = {path: digest for record in records for path, digest in record["files"].items()}
    return {
        "run": variant["run"],
        "variant": variant["name"],
        "overrides": variant["overrides"],
        "seed": config["seed"],
        "keys": variant["keys"],
        "files_sha256": files,
        "weights": {
            f"{part}.{name}": {
                "source": ref["source"],
                "revision": ref["revision"],
                "licence": ref["licence"],
            }
            for part in ("image", "video")
            for name, ref in config["models"][part].items()
            if isinstance(ref, dict) and "source" in ref
        },
        "stages": [{k: record[k] for k in RECORDED} for record in records],
        "wall_s": round(sum(record["wall_s"] for record in records), 1),
        "peak_memory_mb": max(record["peak_memory_mb"] for record in records),
        "versions": code_versions(),
        "machine": machine(),
    }


def _folders(variant: dict[str, Any], cache: Path) -> Iterator[Path]:
    """The finished folder of every job of a variant, as it was made."""
    for stage, key in variant["keys"].items():
        for folder in stage_dirs(cache, stage, key, variant["segments"], None):
            if not (folder / RECORD).is_file():
                raise ArtifactError(f"{folder / RECORD} is missing; delete {folder} and run snakemake again")
            require_undamaged(folder)
            yield folder


def link_keyframes(folder: Path, cache: Path, key: str | None) -> None:
    """Fills `folder` with links to a variant's keyframes; it stays empty for a baseline that has none."""
    if folder.is_symlink():
        folder.unlink()
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.png"):
        _unlink(old)
    for picture in sorted((cache / "keyframes" / key).glob("*.png")) if key else ():
        _link(folder / picture.name, picture)


def _link(link: Path, target: Path) -> None:
    """Points `link` at `target` by a relative path, replacing an earlier link but nothing else."""
    link.parent.mkdir(parents=True, exist_ok=True)
    _unlink(link)
    link.symlink_to(os.path.relpath(target.resolve(), link.parent.resolve()))


def _unlink(link: Path) -> None:
    if link.exists() and not link.is_symlink():
        raise ArtifactError(f"{link} is no link of this program; move it away and run snakemake again")
    link.unlink(missing_ok=True)
