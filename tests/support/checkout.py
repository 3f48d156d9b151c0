"""A working copy of the project in a folder of its own, and snakemake in it."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The quick experiment on small frames: as many stages, jobs, keyframes and segments as the shipped one.
QUICK = ("experiment=quick", "scene.width=96", "scene.height=64", "render.samples=2")
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


def make_checkout(folder: Path, sweeps: Mapping[str, str] | None = None) -> Path:
    """Links the tracked parts into `folder`, so that results and caches are its own.

    sweeps: names and texts of sweeps that the checkout has beside the shipped ones.
    """
    folder.mkdir(parents=True)
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    if sweeps:
        (folder / "Snakefile").unlink()  # snakemake looks for conf/ beside the Snakefile itself
        (folder / "Snakefile").write_text((ROOT / "Snakefile").read_text())
        own_folder(folder / "conf")
        own_folder(folder / "conf" / "sweep")
        for name, text in sweeps.items():
            (folder / "conf" / "sweep" / f"{name}.yaml").write_text(text)
    return folder


def own_folder(link: Path) -> None:
    """Makes a linked folder a folder of its own, whose entries are links."""
    source = link.resolve()
    link.unlink()
    link.mkdir()
    for entry in source.iterdir():
        (link / entry.name).symlink_to(entry)


def snakemake(
    folder: Path,
    *words: str,
    overrides: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
    cores: int = 1,
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


def shown_pictures(folder: Path, run: str = "demo") -> dict[str, str]:
    """Hashes of the video and of every frame that a finished run of a checkout shows."""
    results = folder / "results" / run / "base"
    paths = [results / "video.mp4", *sorted((results / "frames").iterdir())]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def planned_folders(output: str) -> set[str]:
    """What the stage jobs of a dry run would make, below the cache: STAGE/KEY or STAGE/KEY/segment_NNN."""
    return set(
        re.findall(
            r"^    output: results/\.jobs/finished/(\w+/[0-9a-f]{12}(?:/\w+)?)$", output, flags=re.MULTILINE
        )
    )


def planned_jobs(output: str) -> dict[str, int]:
    """The job table of a dry run: rule -> count, without `all` and the total."""
    rows = re.findall(r"^(\w+)\s+(\d+)$", output, flags=re.MULTILINE)
    return {rule: int(count) for rule, count in rows if rule not in ("all", "total", "count")}
