"""Where everything of a scene is at every frame, asked of a Blender process that renders nothing."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2v3d.blender.crew import STALL_S, run_jobs
from i2v3d.blender.jobs import Job, LookJob, MotionJob
from i2v3d.progress import ignore_step

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Surface:
    """points_m: (T, n, 3) in the world, T being 1 where nothing moves. faces: (m, 3). colours: (n, 3), sRGB uint8.
    It equals itself only: its points are too many to compare."""

    points_m: Array
    faces: Array
    colours: Array


@dataclass(frozen=True)
class Motion:
    """poses: of each object's pivot (T, 4, 4) in the world. surfaces: of the objects that bend, or that only Blender
    reads."""

    poses: Mapping[str, Array]
    surfaces: Mapping[str, Surface]


@dataclass(frozen=True)
class BlendObject:
    """One object of a .blend. role: what it says. shown: at each frame."""

    name: str
    role: str
    shown: tuple[bool, ...]
    surface: Surface


@dataclass(frozen=True)
class BlendLook:
    """What a .blend holds. K: (T, 3, 3) in pixels of its own render size; w2c: (T, 4, 4), metres."""

    objects: tuple[BlendObject, ...]
    collections: tuple[str, ...]
    K: Array
    w2c: Array


def scene_motion(scene_dir: Path) -> Motion:
    """The motion of scene_dir/scene.json as its render will see it, for every frame of the shot; nothing is built.

    Raises InputError (an action or mesh), MachineError or RenderError.
    """
    with tempfile.TemporaryDirectory(prefix="i2v3d-") as out:
        _run(MotionJob(str(scene_dir.resolve()), out), f"moving {scene_dir}")
        with np.load(Path(out) / "motion.npz", allow_pickle=False) as arrays:
            poses = {name[6:]: arrays[name] for name in arrays.files if name.startswith("poses/")}
            return Motion(poses, _surfaces(arrays))


def blend_look(blend: Path, first_frame: int, last_frame: int) -> BlendLook:
    """What is in a .blend, the foreground chosen or not. Raises InputError, MachineError or RenderError."""
    with tempfile.TemporaryDirectory(prefix="i2v3d-") as out:
        _run(LookJob(str(blend.resolve()), out, first_frame, last_frame), f"opening {blend}")
        contents = json.loads((Path(out) / "look.json").read_text())
        with np.load(Path(out) / "look.npz", allow_pickle=False) as arrays:
            surfaces = _surfaces(arrays)
    objects = (
        BlendObject(item["name"], item["role"], tuple(item["shown"]), surfaces[item["name"]])
        for item in contents["objects"]
    )
    K, w2c = (np.array([camera[key] for camera in contents["cameras"]]) for key in ("K", "w2c"))
    return BlendLook(tuple(objects), tuple(contents["collections"]), K, w2c)


def _surfaces(arrays: Any) -> dict[str, Surface]:
    names = [name[7:] for name in arrays.files if name.startswith("points/")]
    return {
        name: Surface(arrays[f"points/{name}"], arrays[f"faces/{name}"], arrays[f"colours/{name}"])
        for name in names
    }


def _run(job: Job, what: str) -> None:
    run_jobs([job], what=what, total=0, on_frame=ignore_step, log_dir=None, stall_s=STALL_S)
