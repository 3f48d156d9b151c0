"""The background as one flat picture behind the object, instead of a mesh: an ablation of the method."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np

from i2v3d.artifacts.scene_folder import MESHES, PLATE, SPEC, SceneFolder
from i2v3d.artifacts.scene_spec import ObjectSpec, SceneSpec
from i2v3d.errors import ConfigError
from i2v3d.geometry.cameras import Array, camera_rays, intrinsics
from i2v3d.geometry.meshes import TexturedMesh, write_glb
from i2v3d.images import Rgb

PLANE = f"{MESHES}/image_plane.glb"


def write_plane_scene(scene_dir: Path, out: Path, depth: float) -> None:
    """Writes scene.json and meshes/ of the same scene with its plate on a plane in place of the background.

    The plane faces the camera of frame 1, at `depth` times the foreground's depth there, so that frame 1 shows
    the plate as it is; beside the plate nothing is seen. Raises ConfigError unless the plane is behind the
    foreground, ArtifactError if the scene lacks a file. Source: I2V3D, ablation of the background's mesh.
    """
    scene = SceneFolder(scene_dir)
    scene.require(SPEC, PLATE, MESHES)
    spec = scene.spec()
    camera = np.array(spec.camera[0].world_from_camera)
    pivots = np.array([[*item.pivot_m, 1.0] for item in spec.foreground()] or [[0.0, 0.0, 0.0, 1.0]])
    nearest_m = float((pivots @ np.linalg.inv(camera).T)[:, 2].max())
    if depth <= 1 or nearest_m <= 0:
        raise ConfigError(
            f"render.plane_depth is {depth:g} with the foreground {nearest_m:.2f} m in front of the first camera; "
            "the plane must be behind it: use more than 1"
        )
    out.mkdir(parents=True, exist_ok=True)
    shutil.copytree(scene_dir / MESHES, out / MESHES, dirs_exist_ok=True)
    write_glb(out / PLANE, _plane(spec, camera, scene.plate(), depth * nearest_m))
    plane = ObjectSpec("image_plane", "background", PLANE, (0.0, 0.0, 0.0))
    SceneFolder(out).write_spec(dataclasses.replace(spec, objects=(*spec.foreground(), plane)))


def _plane(spec: SceneSpec, camera: Array, plate: Rgb, depth_m: float) -> TexturedMesh:
    """The plate at planar depth `depth_m`, its pixels on the rays of the first camera. camera: world from it."""
    pad_x, pad_y = spec.notes.get("plate_padding_px", (0, 0))
    right, bottom = plate.shape[1] - pad_x, plate.shape[0] - pad_y
    corners = np.array([[-pad_x, -pad_y], [right, -pad_y], [-pad_x, bottom], [right, bottom]], dtype=float)
    rays = camera_rays(corners, intrinsics(spec.camera[0].focal_px, spec.cx_px, spec.cy_px))
    points = depth_m * rays @ camera[:3, :3].T + camera[:3, 3]
    return TexturedMesh(
        vertices_m=points.astype(np.float32),
        faces=np.array([[0, 2, 3], [0, 3, 1]]),
        uv=np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=np.float32),
        texture=plate,
    )
