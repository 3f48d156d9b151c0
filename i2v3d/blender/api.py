"""Blender for the rest of the package: each call is one process of its own. No bpy is imported here."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2v3d.artifacts import require
from i2v3d.blender.checks import check_scene
from i2v3d.blender.job import BlendJob, FigureJob, FramesJob, InspectJob, Job, ViewsJob, save_job
from i2v3d.blender.machine import check_machine
from i2v3d.blender.process import run_child
from i2v3d.config import ViewsConfig
from i2v3d.errors import InputError, RenderError
from i2v3d.progress import OnStep, ignore_step
from i2v3d.scene.mesh_files import check_mesh
from i2v3d.scene.spec import SceneSpec

__all__ = [
    "MeshContents",
    "RenderReport",
    "check_machine",
    "inspect_mesh",
    "render_frames",
    "render_view_set",
    "save_blend",
    "save_figure",
]

log = logging.getLogger(__name__)

STALL_S = 900.0  # a frame of millions of faces takes a minute; nothing takes a quarter of an hour


@dataclass
class RenderReport:
    """What a render did. frames: the "frame" events by number; peak_memory_mib: of the Blender process."""

    renderer: str = ""
    peak_memory_mib: float = 0.0
    frames: dict[int, Mapping[str, Any]] = field(default_factory=dict)

    def metrics(self) -> dict[str, Any]:
        """Numbers for metrics.json: time, memory, and how much of the frames is seen."""
        rows = list(self.frames.values())
        foreground = [row["foreground"] for row in rows]
        return {
            "frames": len(rows),
            "renderer": self.renderer,
            "seconds_per_frame": sum(row["seconds"] for row in rows) / len(rows),
            "peak_memory_mib": self.peak_memory_mib,
            "foreground_min": min(foreground),
            "foreground_max": max(foreground),
            "visible_min": min(row["visible"] for row in rows),
            "depth_range_m": self.depth_range_m(),
        }

    def depth_range_m(self) -> list[float] | None:
        """[nearest, farthest] planar depth over all frames; None if nothing is seen in any."""
        ranges = [row["depth_range_m"] for row in self.frames.values() if row["depth_range_m"] is not None]
        return [min(near for near, _ in ranges), max(far for _, far in ranges)] if ranges else None


@dataclass(frozen=True)
class MeshContents:
    """What a mesh file holds, as Blender places it: z up, metres.

    vertices_m: (n, 3), of all meshes together, at rest. faces: (m, 3) triangles. actions: the seconds that
    each animation lasts, by name. shape_keys, bones: their names.
    """

    vertices_m: NDArray[np.float32]
    faces: NDArray[np.int64]
    actions: Mapping[str, float]
    shape_keys: tuple[str, ...]
    bones: tuple[str, ...]


def inspect_mesh(
    path: Path, *, max_faces: int, log_dir: Path | None = None, stall_s: float = STALL_S
) -> MeshContents:
    """Checks a user's mesh (OBJ, GLB, glTF, FBX, PLY) and reads its geometry through Blender.

    Raises InputError as `check_mesh`, MachineError or RenderError (with the log's path).
    """
    check_mesh(path, max_faces)
    with tempfile.TemporaryDirectory(prefix="i2v3d-") as out:
        job = InspectJob(mesh=str(path.resolve()), out=out)
        _run(
            job, what=f"reading mesh {path}", total=0, on_frame=ignore_step, log_dir=log_dir, stall_s=stall_s
        )
        contents = json.loads((Path(out) / "contents.json").read_text())
        with np.load(Path(out) / "geometry.npz", allow_pickle=False) as arrays:
            return MeshContents(
                vertices_m=arrays["vertices_m"],
                faces=arrays["faces"],
                actions=contents["actions"],
                shape_keys=tuple(contents["shape_keys"]),
                bones=tuple(contents["bones"]),
            )


def save_figure(path: Path, *, log_dir: Path | None = None, stall_s: float = STALL_S) -> None:
    """Writes the project's own rigged figure as .glb or .fbx, with its actions walk, wave and jump.

    Raises InputError for another suffix, MachineError or RenderError (with the log's path).
    """
    if path.suffix.lower() not in (".glb", ".fbx"):
        raise InputError(f"the figure is written as .glb or .fbx, not {path.name}; name one of those")
    path.parent.mkdir(parents=True, exist_ok=True)
    job = FigureJob(path=str(path.resolve()))
    _run(job, what="making the figure", total=0, on_frame=ignore_step, log_dir=log_dir, stall_s=stall_s)
    if not path.is_file():
        raise RenderError(f"Blender wrote no {path}; check that the disk has space")


def save_blend(
    scene_dir: Path, *, max_faces: int, log_dir: Path | None = None, stall_s: float = STALL_S
) -> None:
    """Builds scene_dir/scene.blend from scene_dir/scene.json and the meshes it names.

    max_faces: triangles that one mesh may have.
    log_dir: where Blender's log is kept; None: a temporary file, kept if something fails.
    Raises ArtifactError (scene), InputError (mesh, texture), MachineError or RenderError (with the log).
    """
    spec = SceneSpec.load(scene_dir / "scene.json")
    check_scene(spec, scene_dir, max_faces)
    job = BlendJob(scene_dir=str(scene_dir.resolve()))
    what = f"building the .blend of scene {spec.name!r}"
    _run(job, what=what, total=0, on_frame=ignore_step, log_dir=log_dir, stall_s=stall_s)
    if not (scene_dir / "scene.blend").is_file():
        raise RenderError(f"Blender wrote no scene.blend into {scene_dir}; check that the disk has space")


def render_frames(
    scene_dir: Path,
    out: Path,
    *,
    frames: Sequence[int],
    samples: int,
    device: str,
    on_frame: OnStep,
    log_dir: Path | None = None,
    stall_s: float = STALL_S,
) -> RenderReport:
    """Renders `frames` (1-based) of scene_dir/scene.blend into out/{rgb,depth,fg_mask,mask,flow}/.

    Also writes out/cameras.json with the cameras of these frames. device: a torch device string; a GPU is
    used where Cycles has one active, else the CPU. The CPU threads are OMP_NUM_THREADS's, else all cores.
    Raises ArtifactError, InputError, MachineError or RenderError (with the log's path).
    """
    spec = SceneSpec.load(scene_dir / "scene.json")
    require(scene_dir, "scene.blend")
    outside = [frame for frame in frames if not 1 <= frame <= spec.frames]
    if outside or not frames:
        raise RenderError(f"scene {spec.name!r} has frames 1 to {spec.frames}, asked for {outside or 'none'}")
    with tempfile.TemporaryDirectory(prefix="i2v3d-") as work:
        job = FramesJob(
            scene_dir=str(scene_dir.resolve()),
            out=str(out.resolve()),
            work=work,
            frames=tuple(frames),
            samples=samples,
            device=device,
            threads=_threads(),
        )
        what = f"rendering scene {spec.name!r}"
        report = _run(job, what=what, total=len(frames), on_frame=on_frame, log_dir=log_dir, stall_s=stall_s)
    _write_cameras(out / "cameras.json", report, spec.width, spec.height, spec.fps)
    return report


def render_view_set(
    scene_dir: Path,
    out: Path,
    *,
    config: ViewsConfig,
    device: str,
    on_frame: OnStep,
    log_dir: Path | None = None,
    stall_s: float = STALL_S,
) -> RenderReport:
    """Renders the foreground alone on white from every azimuth at every elevation into out/{rgb,mask}/.

    Files are numbered from 1, azimuths running fastest; out/cameras.json also lists each view's angles.
    Raises what `render_frames` raises.
    """
    spec = SceneSpec.load(scene_dir / "scene.json")
    require(scene_dir, "scene.blend")
    angles = [(a, e) for e in config.elevations_deg for a in config.azimuths_deg]
    azimuths, elevations = (tuple(column) for column in zip(*angles, strict=True))
    with tempfile.TemporaryDirectory(prefix="i2v3d-") as work:
        job = ViewsJob(
            scene_dir=str(scene_dir.resolve()),
            out=str(out.resolve()),
            work=work,
            size=config.size,
            samples=config.samples,
            azimuths_deg=azimuths,
            elevations_deg=elevations,
            margin=config.margin,
            device=device,
            threads=_threads(),
        )
        what = f"rendering views of scene {spec.name!r}"
        report = _run(job, what=what, total=len(angles), on_frame=on_frame, log_dir=log_dir, stall_s=stall_s)
    more = {"azimuths_deg": list(azimuths), "elevations_deg": list(elevations)}
    _write_cameras(out / "cameras.json", report, config.size, config.size, spec.fps, more)
    return report


def _run(
    job: Job, *, what: str, total: int, on_frame: OnStep, log_dir: Path | None, stall_s: float
) -> RenderReport:
    """Runs one job in a Blender process of its own and collects what it reports."""
    report = RenderReport()

    def on_event(event: Mapping[str, Any]) -> None:
        kind = event.get("event")
        if kind == "log":
            log.log(logging.getLevelName(event["level"]), "%s", event["message"])
        elif kind == "renderer":
            report.renderer = event["name"]
        elif kind == "frame":
            report.frames[event["frame"]] = event
            on_frame(len(report.frames), total)
        elif kind == "done":
            report.peak_memory_mib = event["peak_memory_mib"]

    with (
        _log_file(job, log_dir) as log_file,
        tempfile.TemporaryDirectory(prefix="i2v3d-blender-") as resources,
    ):
        job_file = Path(resources) / "job.json"
        save_job(job, job_file)
        run_child(
            [sys.executable, "-m", "i2v3d.blender.worker", str(job_file)],
            what=what,
            log_file=log_file,
            # settings and add-ons of a user's own Blender stay out
            env={**os.environ, "BLENDER_USER_RESOURCES": resources},
            stall_s=stall_s,
            on_event=on_event,
        )
    return report


@contextmanager
def _log_file(job: Job, log_dir: Path | None) -> Iterator[Path]:
    """An empty file for Blender's own output; a temporary one stays after a RenderError only."""
    if log_dir is not None:
        log_dir.mkdir(parents=True, exist_ok=True)
        path = log_dir / f"{type(job).__name__.removesuffix('Job').lower()}.log"
        path.write_bytes(b"")
        yield path
        return
    handle, name = tempfile.mkstemp(prefix="i2v3d-blender-", suffix=".log")
    os.close(handle)
    keep = False
    try:
        yield Path(name)
    except RenderError:
        keep = True
        raise
    finally:
        if not keep:
            Path(name).unlink()


def _threads() -> int:
    """CPU threads that the job scheduler grants (OMP_NUM_THREADS), 0 if it says nothing."""
    granted = os.environ.get("OMP_NUM_THREADS", "")
    return int(granted) if granted.isdecimal() else 0


def _write_cameras(
    path: Path,
    report: RenderReport,
    width: int,
    height: int,
    fps: int,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Writes cameras.json: size, K and w2c per frame (OpenCV axes, pixels, metres), depth range, rate."""
    rows = [report.frames[frame] for frame in sorted(report.frames)]
    data = {
        "width": width,
        "height": height,
        "fps": fps,
        "frames": [row["frame"] for row in rows],
        "K": [row["K"] for row in rows],
        "w2c": [row["w2c"] for row in rows],
        "depth_range_m": report.depth_range_m(),
        **(more or {}),
    }
    path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n")
