"""A working copy of the project in a folder of its own, and snakemake in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
QUICK = ("experiment=quick",)
LINKED = (
    "Snakefile",
    "conf",
    "rules",
    "profiles",
    "scenes",
    "weights",
    "i2v3d",
    "miniature",
    "pyproject.toml",
)


def make_checkout(folder: Path) -> Path:
    """Links the tracked parts into `folder`, so that results and caches are its own."""
    folder.mkdir(parents=True)
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    return folder


def snakemake(
    folder: Path,
    *words: str,
    overrides: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
    cores: int = 2,
) -> subprocess.CompletedProcess[str]:
    """Runs snakemake in a checkout; output and errors together in `stdout`."""
    config = {**(settings or {}), **({"overrides": " ".join(overrides)} if overrides else {})}
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), *words]
    command += ["--config", *(f"{k}={v}" for k, v in config.items())] if config else []
    environment = {**os.environ, "WANDB_MODE": "offline"}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def planned_jobs(output: str) -> dict[str, int]:
    """The job table of a dry run: rule -> count, without `all` and the total."""
    rows = re.findall(r"^(\w+)\s+(\d+)$", output, flags=re.MULTILINE)
    return {rule: int(count) for rule, count in rows if rule not in ("all", "total", "count")}
