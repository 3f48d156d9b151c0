"""Checks of a scene and of its meshes before a Blender process starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from i2v3d.artifacts.scene_spec import CameraKey, ObjectSpec, SceneSpec
from i2v3d.errors import ArtifactError, InputError
from i2v3d.scene.mesh_files import check_mesh

ROTATION_TOLERANCE = 1e-4


def check_scene(scene: SceneSpec, scene_dir: Path, max_faces: int) -> None:
    """Raises ArtifactError or InputError for what Blender would crash on or render blank.

    Checked: sizes and frame counts, at least one object, unique names, keys in order and in range, finite
    numbers, cameras that are rigid poses with a positive focal length, meshes inside the
    scene folder that `check_mesh` finds good.
    """
    where = f"scene {scene.name!r}"
    if min(scene.width, scene.height, scene.frames, scene.fps) < 1:
        raise ArtifactError(f"{where}: width, height, frames and fps must be at least 1")
    if not (math.isfinite(scene.cx_px) and math.isfinite(scene.cy_px)):
        raise ArtifactError(f"{where}: the principal point is not finite")
    names = [o.name for o in scene.objects]
    if not names or len(set(names)) != len(names):
        raise ArtifactError(f"{where} needs objects of different names, has {names}")
    _check_camera(scene.camera, scene.last_frame, where)
    for spec in scene.objects:
        _check_object(spec, scene, scene_dir, max_faces)


def _check_camera(keys: Sequence[CameraKey], last: int, where: str) -> None:
    """Raises ArtifactError unless the camera keys are ordered, rigid and of positive focal length."""
    if not keys:
        raise ArtifactError(f"{where} has no camera key; expected at least one, at frame 1")
    _check_order([key.frame for key in keys], last, f"{where}: camera")
    for key in keys:
        pose = np.array(key.world_from_camera)
        rigid = (
            pose.shape == (4, 4)
            and np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=ROTATION_TOLERANCE)
            and np.linalg.det(pose[:3, :3]) > 0
            and np.allclose(pose[3], [0, 0, 0, 1])
        )
        if not rigid or not np.isfinite(pose).all():
            raise ArtifactError(
                f"{where}: the camera of frame {key.frame} is no rigid pose; expected a 4 x 4 matrix "
                "of a rotation and a translation"
            )
        if not (math.isfinite(key.focal_px) and key.focal_px > 0):
            raise ArtifactError(
                f"{where}: the focal length of frame {key.frame} is {key.focal_px}; expected above 0 pixels"
            )


def _check_object(spec: ObjectSpec, scene: SceneSpec, scene_dir: Path, max_faces: int) -> None:
    """Raises ArtifactError for keys that Blender cannot take, InputError for a mesh that it cannot."""
    where = f"scene {scene.name!r}: object {spec.name!r}"
    if spec.role not in ("foreground", "background"):
        raise ArtifactError(f"{where} has role {spec.role!r}; expected foreground or background")
    _check_order([key.frame for key in spec.keys], scene.last_frame, where)
    numbers = [*spec.pivot_m, *(value for row in spec.place for value in row)]
    numbers += [key.value for key in spec.shape_keys]
    for key in spec.keys:
        numbers += [*key.translation_m, *key.rotation_deg, *key.scale]
        if 0 in key.scale:
            raise ArtifactError(f"{where} has scale 0 at frame {key.frame}; hide it instead or keep it small")
    if not all(math.isfinite(number) for number in numbers):
        raise ArtifactError(f"{where} has a pivot, place or key that is not finite")
    check_mesh(mesh_path(spec, scene_dir), max_faces)


def mesh_path(spec: ObjectSpec, scene_dir: Path) -> Path:
    """An object's mesh file. Raises InputError if it lies outside the scene folder."""
    path = (scene_dir / spec.mesh).resolve()
    if not path.is_relative_to(scene_dir.resolve()):
        raise InputError(
            f"mesh {spec.mesh!r} of object {spec.name!r} lies outside {scene_dir}; copy it into the scene"
        )
    return path


def _check_order(numbers: Sequence[int], last: int, where: str) -> None:
    """Raises ArtifactError unless key frames ascend strictly within 1 .. last."""
    for earlier, later in pairwise(numbers):
        if later <= earlier:
            raise ArtifactError(f"{where} has a key at frame {later} after one at {earlier}; sort its keys")
    outside = [n for n in numbers if not 1 <= n <= last]
    if outside:
        raise ArtifactError(f"{where} has a key at frame {outside[0]}; expected 1 to {last}")
