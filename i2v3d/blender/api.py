"""Blender for the rest of the package: each call is one process of its own. No bpy is imported here."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2v3d.artifacts.folders import require
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.artifacts.scene_spec import SceneSpec
from i2v3d.artifacts.views_folder import ViewsFolder
from i2v3d.blender.checks import check_scene
from i2v3d.blender.crew import STALL_S, run_jobs, split_frames
from i2v3d.blender.jobs import (
    AdoptJob,
    BlendJob,
    ExamineJob,
    ExportJob,
    FigureJob,
    FramesJob,
    InspectJob,
    Job,
    ViewsJob,
)
from i2v3d.blender.machine import check_machine
from i2v3d.blender.report import RenderReport
from i2v3d.config.render import ViewsConfig
from i2v3d.errors import InputError, RenderError
from i2v3d.progress import OnStep, ignore_step
from i2v3d.scene.mesh_files import copy_mesh

__all__ = [
    "MeshContents",
    "RenderReport",
    "adopt_blend",
    "check_machine",
    "examine_blend",
    "export_scene",
    "inspect_mesh",
    "render_frames",
    "render_view_set",
    "save_blend",
    "save_figure",
]


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
    """Checks a user's mesh and reads its geometry through Blender, near its origin as `copy_mesh` puts it.

    Raises InputError as `check_mesh`, MachineError or RenderError (with the log's path).
    """
    with tempfile.TemporaryDirectory(prefix="i2v3d-") as out:
        copy = copy_mesh(path, Path(out) / "mesh", max_faces)
        job = InspectJob(mesh=str(copy), out=out)
        try:
            _run(job, what=f"reading mesh {path}", log_dir=log_dir, stall_s=stall_s)
        except InputError as error:
            raise InputError(str(error).replace(str(copy), str(path))) from error
        contents = json.loads((Path(out) / "contents.json").read_text())
        with np.load(Path(out) / "geometry.npz", allow_pickle=False) as arrays:
            return MeshContents(
                vertices_m=arrays["vertices_m"],
                faces=arrays["faces"],
                actions=contents["actions"],
                shape_keys=tuple(contents["shape_keys"]),
                bones=tuple(contents["bones"]),
            )


def adopt_blend(
    blend: Path,
    out: Path,
    *,
    foreground: Sequence[str],
    log_dir: Path | None = None,
    stall_s: float = STALL_S,
) -> Mapping[str, Any]:
    """Makes an artist's .blend the scene of out/scene.json, as out/scene.blend; scripts in it never run.

    foreground: names of its objects or collections; none: the roles that scenes of this project carry.
    Returns "cameras" (K and w2c a frame), "objects" (name, role, pivot_m) and "faces". Raises InputError
    for a file that is damaged, of a newer Blender, or not whole; ConfigError for a foreground that is not
    there or not seen; MachineError or RenderError (with the log's path).
    """
    job = AdoptJob(blend=str(blend.resolve()), out=str(out.resolve()), foreground=tuple(foreground))
    _run(job, what=f"opening {blend}", log_dir=log_dir, stall_s=stall_s)
    contents = out / "contents.json"
    found: Mapping[str, Any] = json.loads(contents.read_text())
    contents.unlink()
    return found


def examine_blend(blend: Path, *, foreground: Sequence[str], first_frame: int, last_frame: int) -> None:
    """Refuses an artist's .blend that could not be the scene, everything that is wrong with it in one message.

    What was found good once is not opened again until it changes. Raises InputError, MachineError or RenderError.
    """
    state = blend.stat()
    _examined(
        str(blend.resolve()), (state.st_mtime_ns, state.st_size), tuple(foreground), first_frame, last_frame
    )


@lru_cache(maxsize=64)
def _examined(blend: str, _: tuple[int, int], foreground: tuple[str, ...], first: int, last: int) -> None:
    job = ExamineJob(blend=blend, foreground=foreground, first_frame=first, last_frame=last)
    _run(job, what=f"opening {blend}", log_dir=None, stall_s=STALL_S)


def export_scene(
    scene_dir: Path, path: Path, *, log_dir: Path | None = None, stall_s: float = STALL_S
) -> None:
    """Writes a finished scene as .glb, with its animation and camera, or as .blend, as it is.

    Raises InputError for another suffix, ArtifactError for a scene that is not finished, MachineError or
    RenderError (with the log's path).
    """
    require(scene_dir, "scene.json", "scene.blend")
    if path.suffix.lower() not in (".glb", ".blend"):
        raise InputError(f"a scene is exported as .glb or .blend, not {path.name}; name one of those")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".blend":
        shutil.copyfile(scene_dir / "scene.blend", path)
        return
    job = ExportJob(scene_dir=str(scene_dir.resolve()), path=str(path.resolve()))
    _run(job, what=f"exporting {scene_dir}", log_dir=log_dir, stall_s=stall_s)
    if not path.is_file():
        raise RenderError(f"Blender wrote no {path}; check that the disk has space")


def save_figure(path: Path, *, log_dir: Path | None = None, stall_s: float = STALL_S) -> None:
    """Writes the project's own rigged figure as .glb or .fbx, with its actions walk, wave and jump.

    Raises InputError for another suffix, MachineError or RenderError (with the log's path).
    """
    if path.suffix.lower() not in (".glb", ".fbx"):
        raise InputError(f"the figure is written as .glb or .fbx, not {path.name}; name one of those")
    path.parent.mkdir(parents=True, exist_ok=True)
    job = FigureJob(path=str(path.resolve()))
    _run(job, what="making the figure", log_dir=log_dir, stall_s=stall_s)
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
    _run(job, what=what, log_dir=log_dir, stall_s=stall_s)
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
    surface_points: int = 0,
    log_dir: Path | None = None,
    stall_s: float = STALL_S,
) -> RenderReport:
    """Renders `frames` (1-based) of scene_dir/scene.blend into the render folder `out`, with their cameras.

    surface_points: how many points of the foreground's surface are written a frame, too.
    device: a torch device string; a GPU is
    used where Cycles has one active, else the CPU, where several processes share the frames (see
    `split_frames`). Raises ArtifactError, InputError, MachineError or RenderError (with the log's path).
    """
    spec = SceneSpec.load(scene_dir / "scene.json")
    require(scene_dir, "scene.blend")
    outside = [frame for frame in frames if not 1 <= frame <= spec.frames]
    if outside or not frames:
        raise RenderError(f"scene {spec.name!r} has frames 1 to {spec.frames}, asked for {outside or 'none'}")
    size = (scene_dir / "scene.blend").stat().st_size
    split, start = split_frames(len(frames), device, size), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="i2v3d-") as work:
        jobs = []
        for number, share in enumerate(np.array_split(np.array(frames), split.processes)):
            scratch = Path(work) / str(number)
            scratch.mkdir()
            jobs.append(
                FramesJob(
                    scene_dir=str(scene_dir.resolve()),
                    out=str(out.resolve()),
                    work=str(scratch),
                    frames=tuple(share.tolist()),
                    samples=samples,
                    device=device,
                    threads=split.threads,
                    surface_points=surface_points,
                )
            )
        what = f"rendering scene {spec.name!r}"
        report = run_jobs(
            jobs, what=what, total=len(frames), on_frame=on_frame, log_dir=log_dir, stall_s=stall_s
        )
    report.wall_s = time.monotonic() - start
    RenderFolder(out).write_cameras(report.cameras(spec.width, spec.height, spec.fps))
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
    """Renders the foreground alone on white from every azimuth at every elevation into the views folder `out`.

    Pictures are numbered from 1, azimuths running fastest. Raises what `render_frames` raises.
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
            threads=split_frames(1, device, 0).threads,
        )
        what, start = f"rendering views of scene {spec.name!r}", time.monotonic()
        report = run_jobs(
            [job], what=what, total=len(angles), on_frame=on_frame, log_dir=log_dir, stall_s=stall_s
        )
    report.wall_s = time.monotonic() - start
    ViewsFolder(out).write_cameras(report.cameras(config.size, config.size, spec.fps, angles))
    return report


def _run(job: Job, *, what: str, log_dir: Path | None, stall_s: float) -> None:
    """Runs a job that renders nothing."""
    run_jobs([job], what=what, total=0, on_frame=ignore_step, log_dir=log_dir, stall_s=stall_s)
