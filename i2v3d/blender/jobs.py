"""What the parent asks of a Blender process: plain data, written as JSON. No bpy here."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args


@dataclass(frozen=True)
class BlendJob:
    """Build scene.blend from scene.json and the meshes of `scene_dir`."""

    scene_dir: str


@dataclass(frozen=True)
class FramesJob:
    """Render `frames` of `scene_dir` with every pass into `out`. work: a scratch folder.

    samples: Cycles samples a pixel of the colour. device: a torch device string. threads: 0 for all cores.
    surface_points: of the foreground's surface that are written, too; 0: none.
    """

    scene_dir: str
    out: str
    work: str
    frames: tuple[int, ...]
    samples: int
    device: str
    threads: int
    surface_points: int


@dataclass(frozen=True)
class ViewsJob:
    """Render the foreground of `scene_dir` alone, on white, `size` x `size` pixels, into `out`.

    azimuths_deg, elevations_deg: one pair a view, relative to the camera of frame 1. margin: the free
    border at each side as a fraction of the size.
    """

    scene_dir: str
    out: str
    work: str
    size: int
    samples: int
    azimuths_deg: tuple[float, ...]
    elevations_deg: tuple[float, ...]
    margin: float
    device: str
    threads: int


@dataclass(frozen=True)
class InspectJob:
    """Import `mesh`, and write what it holds to contents.json and geometry.npz in `out`."""

    mesh: str
    out: str


@dataclass(frozen=True)
class FigureJob:
    """Write the rigged figure to the .glb or .fbx `path`."""

    path: str


@dataclass(frozen=True)
class ExportJob:
    """Write `scene_dir` with its animation and cameras to the .glb `path`."""

    scene_dir: str
    path: str


@dataclass(frozen=True)
class AdoptJob:
    """Take an artist's .blend as the scene of out/scene.json. foreground: names of objects or collections."""

    blend: str
    out: str
    foreground: tuple[str, ...]


@dataclass(frozen=True)
class ExamineJob:
    """Look for all that keeps an artist's .blend from being a scene. foreground: names of objects or collections;
    first_frame, last_frame: of its timeline, the shot's."""

    blend: str
    foreground: tuple[str, ...]
    first_frame: int
    last_frame: int


@dataclass(frozen=True)
class MotionJob:
    """Write where every object of scene_dir/scene.json is at every frame to out/motion.npz."""

    scene_dir: str
    out: str


@dataclass(frozen=True)
class LookJob:
    """Write what an artist's .blend holds at the frames of its timeline to out/look.json and out/look.npz."""

    blend: str
    out: str
    first_frame: int
    last_frame: int


Job = (
    AdoptJob
    | BlendJob
    | ExamineJob
    | ExportJob
    | FigureJob
    | FramesJob
    | InspectJob
    | LookJob
    | MotionJob
    | ViewsJob
)
_CLASSES = get_args(Job)
_TYPES: dict[str, Callable[..., Job]] = {cls.__name__: cls for cls in _CLASSES}


def save_job(job: Job, path: Path) -> None:
    """Writes a job as JSON."""
    path.write_text(json.dumps({"type": type(job).__name__, **dataclasses.asdict(job)}, indent=1) + "\n")


def load_job(path: Path) -> Job:
    """Reads a job that `save_job` wrote."""
    data = json.loads(path.read_text())
    cls = _TYPES[data.pop("type")]
    return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in data.items()})
