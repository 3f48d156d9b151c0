"""The command line of a job, with the files that a plan would have written for it."""

from __future__ import annotations

import json
from pathlib import Path

from i2v3d.stages.registry import STAGES
from i2v3d.workflow.plan import Node

RENDER_CONFIG = {
    "folder": None,
    "light": "flat",
    "samples": 1,
    "background": "mesh",
    "plane_depth": 2.0,
    "max_faces": 1000,
}
RUNTIME = {
    "device": "cpu",
    "perf": "auto",
    "memory": "auto",
    "render_device": "auto",
    "max_batch": 0,
    "memory_mb": 100,
    "threads": 0,
    "jobs_per_card": 1,
    "shards": 1,
    "warm": False,
}
TRACKING = {"mode": "disabled", "project": "x", "entity": None}


def render_job(folder: Path, upstream: dict[str, str], out: str, log: str) -> list[str]:
    """Words of a job that renders, all files in `folder`. out, log: below it."""
    node = Node("render", "0" * 12, STAGES["render"].version, RENDER_CONFIG, {}, upstream, 2)
    (folder / "node.json").write_text(json.dumps(node.__dict__))
    settings = {"run": "x", "runtime": RUNTIME, "tracking": TRACKING}
    (folder / "settings.json").write_text(json.dumps(settings))
    paths = {"node": "node.json", "cache": "cache", "out": out, "settings": "settings.json", "log": log}
    return ["render", *(word for name, path in paths.items() for word in (f"--{name}", str(folder / path)))]
