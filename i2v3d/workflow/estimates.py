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

GIB_AT_LEAST = 11.5  # of a GPU, whatever the size: the networks themselves


@dataclass(frozen=True)
class Estimate:
    """Of one variant on `machine`. minutes: of the stages with networks; gpu_gib: at most, 0 where no GPU is needed."""

    machine: str
    minutes: float
    gpu_gib: float


def estimate(config: Mapping[str, Any], segments: int) -> Estimate | None:
    """The costs of a composed configuration; None for a family that was not measured."""
    measured = json.loads((resources.files("i2v3d.workflow") / "measured.json").read_text(encoding="utf-8"))
    known = measured.get(config["models"]["name"])
    if known is None:
        return None
    pixels = config["scene"]["width"] * config["scene"]["height"] / (known["width"] * known["height"])
    counts = {"segments": segments / known["segments"], "keyframes": (segments + 1) / known["keyframes"]}
    seconds, gib = 0.0, 0.0
    needed = {stage.name for stage in needed_stages(config)}
    for name, stage in known["stages"].items():
        if name in STAGES and name not in needed:
            continue
        section, option = stage["option"].split(".")
        steps = config[section][option] / stage["steps"]
        own_size = (
            1.0 if "each" not in stage else pixels
        )  # the LoRA learns from crops and views of fixed size
        if "segment_frames" in stage:
            own_size *= config[section]["segment_frames"] / stage["segment_frames"]
        seconds += stage["seconds"] * steps * own_size * counts.get(stage.get("each", ""), 1.0)
        gib = max(gib, stage["gpu_gib"] * own_size)
    return Estimate(known["machine"], seconds / 60, max(gib, GIB_AT_LEAST) if known["gpu"] else 0.0)
