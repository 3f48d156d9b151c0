"""What a shot costs, scaled from what was measured on one machine (`measured.json`, the tables of README.md).

An estimate: other machines, drivers and neighbours take another time. Times and memory are taken as proportional to
pixels, keyframes or segments, steps, and frames of a segment where a stage was measured at one length. Seconds are
those with all memory of that card, gpu_gib is the smallest cap under which the stage ended (docs/performance.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from i2v3d.stages.registry import STAGES
from i2v3d.workflow.selection import needed_stages

GIB_AT_LEAST = 7.5  # of a GPU, whatever the size: the networks themselves


@dataclass(frozen=True)
class Estimate:
    """Of one variant on `machine`. minutes: of the stages with networks; gpu_gib: at most, 0 where no GPU is needed."""

    machine: str
    minutes: float
    gpu_gib: float


def estimate(config: Mapping[str, Any], segments: int) -> Estimate | None:
    """The costs of a composed configuration; None for a family that was not measured."""
    groups = _measured(config["models"])
    if not groups:
        return None
    needed = {stage.name for stage in needed_stages(config)}
    seconds, gib = 0.0, 0.0
    for known in groups:
        for name, stage in known["stages"].items():
            if name not in STAGES or name in needed:
                own_seconds, own_gib = _scaled(stage, known, config, segments)
                seconds, gib = seconds + own_seconds, max(gib, own_gib)
    gpu = any(known["gpu"] for known in groups)
    return Estimate(groups[0]["machine"], seconds / 60, max(gib, GIB_AT_LEAST) if gpu else 0.0)


def _measured(models: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was measured of the family as a whole or, of one of published models, of both backbones; else nothing."""
    measured = json.loads((resources.files("i2v3d.workflow") / "measured.json").read_text(encoding="utf-8"))
    backbones = [models["image"]["family"], models["video"]["family"]]
    names = backbones if models["name"] == "_".join(backbones) else [models["name"]]
    return [measured[name] for name in names] if all(name in measured for name in names) else []


def _scaled(
    stage: Mapping[str, Any], known: Mapping[str, Any], config: Mapping[str, Any], segments: int
) -> tuple[float, float]:
    """Seconds and GiB of a stage of this configuration."""
    section, option = stage["option"].split(".")
    seconds = stage["seconds"] * config[section][option] / stage["steps"]
    if "each" not in stage:  # the LoRA learns from crops and views of fixed size
        return seconds, stage["gpu_gib"]
    size = config["scene"]["width"] * config["scene"]["height"] / (known["width"] * known["height"])
    if "segment_frames" in stage:
        size *= config[section]["segment_frames"] / stage["segment_frames"]
    count = segments if stage["each"] == "segments" else segments + 1
    return seconds * size * count / known[stage["each"]], stage["gpu_gib"] * size
