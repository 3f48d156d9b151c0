"""Meshes for the page: as the render's files have them, but no more faces than a laptop shows smoothly."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import fast_simplification
import numpy as np
import trimesh
from PIL import Image
from scipy.spatial import cKDTree

from i2v3d.blender.motion import Surface
from i2v3d.geometry.cameras import Array
from i2v3d.scene.mesh_files import Z_UP_SUFFIXES

MOST_FACES = 200_000  # of a mesh on the page
LARGEST_TEXTURE_PX = 2048


@lru_cache(maxsize=32)
def page_mesh(path: Path) -> trimesh.Trimesh:
    """A mesh file that passed `check_mesh`, z up, in metres, as it is shown: without light, at most `MOST_FACES`."""
    loaded = trimesh.load_scene(path)
    mesh = loaded.to_mesh()
    if path.suffix.lower() not in Z_UP_SUFFIXES:
        mesh.apply_transform([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    return glowing(thinned(mesh, MOST_FACES))


def surface_mesh(surface: Surface, frame: int) -> trimesh.Trimesh:
    """A surface at a frame, counted from 0, in its vertices' colours."""
    points = surface.points_m[frame]
    return trimesh.Trimesh(points, surface.faces, vertex_colors=surface.colours, process=False)


def thin_surface(surface: Surface, most_faces: int) -> Surface:
    """The surface itself, or a copy of about `most_faces` that bends as it does: thinned at its first frame, each
    vertex goes where the nearest one of the original goes."""
    if len(surface.faces) <= most_faces:
        return surface
    _, faces, nearest = _simplified(surface.points_m[0], surface.faces, most_faces)
    return Surface(surface.points_m[:, nearest], faces, surface.colours[nearest])


def thinned(mesh: trimesh.Trimesh, most_faces: int) -> trimesh.Trimesh:
    """The mesh itself, or a copy of about `most_faces`, whose vertices look like the nearest ones of the original."""
    if len(mesh.faces) <= most_faces:
        return mesh
    points, faces, nearest = _simplified(mesh.vertices, mesh.faces, most_faces)
    visual = mesh.visual
    if isinstance(visual, trimesh.visual.TextureVisuals) and visual.uv is not None:
        shown = trimesh.visual.TextureVisuals(uv=visual.uv[nearest], material=visual.material)
    else:
        plain = visual.to_color() if isinstance(visual, trimesh.visual.TextureVisuals) else visual
        shown = trimesh.visual.ColorVisuals(vertex_colors=plain.vertex_colors[nearest])
    return trimesh.Trimesh(points, faces, visual=shown, process=False)


def _simplified(points_m: Array, faces: Array, most_faces: int) -> tuple[Array, Array, Array]:
    """Fewer points (n, 3) and faces (m, 3), and of each point the nearest of the original ones (n,)."""
    fewer, corners = fast_simplification.simplify(
        np.asarray(points_m, np.float32), np.asarray(faces, np.int32), target_count=most_faces
    )
    _, nearest = cKDTree(points_m).query(fewer)
    return fewer, corners, nearest


def glowing(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The mesh with its texture shining by itself, as flat renders show it; without a texture as it is."""
    visual = mesh.visual
    picture = _picture(visual)
    if picture is None:
        return mesh
    picture.thumbnail((LARGEST_TEXTURE_PX, LARGEST_TEXTURE_PX))
    material = trimesh.visual.material.PBRMaterial(
        emissiveTexture=picture.convert("RGB"),
        emissiveFactor=[1.0, 1.0, 1.0],
        baseColorFactor=[0, 0, 0, 255],
        metallicFactor=0.0,
        roughnessFactor=1.0,
        doubleSided=True,
    )
    shown = trimesh.visual.TextureVisuals(uv=visual.uv, material=material)
    return trimesh.Trimesh(mesh.vertices, mesh.faces, visual=shown, process=False)


def _picture(visual: object) -> Image.Image | None:
    if not isinstance(visual, trimesh.visual.TextureVisuals) or visual.uv is None:
        return None
    material = visual.material
    picture = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    return picture.copy() if isinstance(picture, Image.Image) else None
