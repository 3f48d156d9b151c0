"""What the coarse renders cost: a photo's scene, timed on a given number of cores."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from i2v3d.artifacts.metrics_file import read_metrics
from i2v3d.blender.crew import usable_cores
from i2v3d.config.render import RenderConfig
from i2v3d.config.scene import SceneConfig
from i2v3d.config.sections import build
from i2v3d.errors import MachineError
from i2v3d.stages.context import StageContext
from i2v3d.stages.render import render_passes
from i2v3d.stages.scene import build_scene
from i2v3d.workflow.composition import compose_here


def composed(scene: str, size: tuple[int, int], frames: int, samples: int | None) -> dict[str, Any]:
    """The configuration of `frames` frames of a shipped scene. size: width and height in pixels; samples: of Cycles, a
    pixel; None: conf/render's. Raises ConfigError for words that do not compose."""
    words = [f"scene={scene}", f"scene.frames={frames}", f"scene.width={size[0]}", f"scene.height={size[1]}"]
    words += [f"render.samples={samples}"] if samples else []
    return compose_here(words)


def measure(config: dict[str, Any], cores: int, device: str) -> dict[str, Any]:
    """Builds and renders the scene of a composed configuration on `cores` cores of this machine.

    Returns seconds of both stages (wall and CPU), peak memory of all Blender processes in MiB, and how
    well the first frame shows the photo. Raises MachineError if there are fewer cores.
    """
    _restrict(cores)
    scene = build(SceneConfig, config["scene"], "scene")
    render = build(RenderConfig, config["render"], "render")
    with tempfile.TemporaryDirectory(prefix="i2v3d-times-") as folder:
        paths = {name: Path(folder) / name for name in ("scene", "render", "work")}
        for path in paths.values():
            path.mkdir()
        context = StageContext(device=device, max_batch=0, work=paths["work"])
        begin, scene_cpu = time.monotonic(), _cpu_s()
        build_scene(scene, {}, paths["scene"], context)
        middle, render_cpu = time.monotonic(), _cpu_s()
        render_passes(render, {"scene": paths["scene"]}, paths["render"], context)
        end, last_cpu = time.monotonic(), _cpu_s()
        metrics = read_metrics(paths["render"])
    return {
        "scene": scene.name,
        "size": f"{scene.width}x{scene.height}",
        "frames": scene.frames,
        "cores": cores,
        "renderer": metrics["renderer"],
        "processes": metrics["processes"],
        "scene_wall_s": middle - begin,
        "scene_cpu_s": render_cpu - scene_cpu,
        "render_wall_s": end - middle,
        "render_cpu_s": last_cpu - render_cpu,
        "render_cpu_s_per_frame": (last_cpu - render_cpu) / scene.frames,
        "peak_memory_mib": metrics["peak_memory_mib"],
        "photo_psnr_db": metrics["photo_psnr_db"],
        "photo_psnr_foreground_db": metrics["photo_psnr_foreground_db"],
        "load_average": os.getloadavg()[0],
    }


def _restrict(cores: int) -> None:
    """Keeps this process and its children on the first `cores` cores that it may use."""
    if cores > usable_cores():
        raise MachineError(f"--cores is {cores} but this process may use {usable_cores()}; ask for fewer")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    os.environ["OMP_NUM_THREADS"] = str(cores)


def _cpu_s() -> float:
    """CPU seconds of this process and of its finished children."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def shown(value: Any) -> str:
    """A value of `measure` as text."""
    return f"{value:.1f}" if isinstance(value, float) else str(value)
