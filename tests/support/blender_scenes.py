"""Small scenes with known answers for the Blender tests. Meshes are given in world axes (z up)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image

from i2v3d.artifacts.scene_spec import CameraKey, ObjectSpec, SceneSpec

WIDTH, HEIGHT = 64, 48
GLTF_FROM_WORLD = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # glTF is y-up
LOOK_ALONG_Y = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])  # world from camera

Array = NDArray[np.float64]


def write_glb(
    path: Path,
    vertices_m: Array,
    faces: NDArray[np.int64],
    *,
    uv: Array | None = None,
    texture: NDArray[np.uint8] | None = None,
    colour: tuple[int, int, int] = (128, 128, 128),
) -> None:
    """Writes a mesh with a texture (uv from the bottom left) or one linear 8-bit colour."""
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=None if texture is None else Image.fromarray(texture),
        baseColorFactor=None if texture is not None else [*colour, 255],
    )
    mesh = trimesh.Trimesh(vertices_m @ GLTF_FROM_WORLD.T, faces, process=False)
    mesh.visual = trimesh.visual.TextureVisuals(
        uv=np.zeros((len(vertices_m), 2)) if uv is None else uv, material=material
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    mesh.export(path)


def box(path: Path, centre_m: tuple[float, float, float], size_m: tuple[float, float, float]) -> Array:
    """Writes an axis-aligned box; returns its 8 corners."""
    mesh = trimesh.creation.box(size_m)
    corners = np.asarray(mesh.vertices) + centre_m
    write_glb(path, corners, np.asarray(mesh.faces), colour=(255, 64, 16))
    return corners


def sphere(path: Path, radius_m: float) -> None:
    """Writes a fine sphere about the origin."""
    mesh = trimesh.creation.icosphere(5, radius_m)
    write_glb(path, np.asarray(mesh.vertices), np.asarray(mesh.faces))


def picture_plane(
    path: Path, texture: NDArray[np.uint8], focal_px: float, centre_px: tuple[float, float], depth_m: float
) -> None:
    """Writes a plane y = depth_m that a camera looking along +y sees as exactly `texture`, centred so that
    the texture's middle is the frame's middle."""
    height, width = texture.shape[:2]
    left, top = (WIDTH - width) / 2, (HEIGHT - height) / 2
    corners_px = np.array(
        [[left, top + height], [left + width, top + height], [left + width, top], [left, top]]
    )
    x, down = ((corners_px - centre_px) * depth_m / focal_px).T
    vertices = np.stack([x, np.full(4, depth_m), -down], axis=1)
    uv = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    write_glb(path, vertices, np.array([[0, 1, 2], [0, 2, 3]]), uv=uv, texture=texture)


def camera_key(frame: int, world_from_camera: Array, focal_px: float) -> CameraKey:
    """A linear camera key from a matrix."""
    pose = tuple(tuple(row) for row in world_from_camera.tolist())
    return CameraKey(frame, pose, focal_px, "LINEAR")


def still_scene(
    folder: Path, objects: tuple[ObjectSpec, ...], *, frames: int = 1, pose: Array = LOOK_ALONG_Y
) -> SceneSpec:
    """Saves a scene with a still camera of focal length 60 px in `folder`."""
    scene = SceneSpec(
        name=folder.name,
        width=WIDTH,
        height=HEIGHT,
        frames=frames,
        fps=24,
        cx_px=WIDTH / 2,
        cy_px=HEIGHT / 2,
        camera=(camera_key(1, pose, 60.0),),
        objects=objects,
    )
    folder.mkdir(parents=True, exist_ok=True)
    scene.save(folder / "scene.json")
    return scene
