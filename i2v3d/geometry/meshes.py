"""Textured triangle meshes in world axes, and their GLB files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from i2v3d.errors import ShapeError
from i2v3d.images import Rgb


@dataclass(frozen=True)
class TexturedMesh:
    """Triangles with one texture, in world axes (z up, metres).

    vertices_m: (n, 3). faces: (m, 3) vertex indices. uv: (n, 2), the texture's left top at (0, 0) and its
    right bottom at (1, 1). texture: (h, w, 3) uint8 sRGB. Raises ShapeError if these do not fit each
    other, a number is not finite, or there is no face.
    """

    vertices_m: npt.NDArray[np.float32]
    faces: npt.NDArray[np.int64]
    uv: npt.NDArray[np.float32]
    texture: Rgb

    def __post_init__(self) -> None:
        count = len(self.vertices_m)
        if self.vertices_m.shape != (count, 3) or self.uv.shape != (count, 2):
            raise ShapeError(
                f"a mesh needs (n, 3) vertices and (n, 2) uv, got {self.vertices_m.shape} and {self.uv.shape}"
            )
        if self.faces.ndim != 2 or self.faces.shape[1] != 3 or len(self.faces) == 0:
            raise ShapeError(f"a mesh needs (m, 3) faces and at least one, got {self.faces.shape}")
        if self.faces.min() < 0 or self.faces.max() >= count:
            raise ShapeError(f"a face points to vertex {self.faces.max()} of {count}")
        if not (np.isfinite(self.vertices_m).all() and np.isfinite(self.uv).all()):
            raise ShapeError("a mesh holds a vertex or texture coordinate that is not finite")


def grid_faces(cells: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Triangles (2 m, 3) of the m set cells of a grid (H, W), as indices into its (H+1) x (W+1) corners.

    Corners count along rows. Seen with rows going down, triangles turn counter-clockwise, towards the
    viewer. The two triangles of a cell are consecutive.
    """
    columns = cells.shape[1] + 1
    row, column = np.nonzero(cells)
    left_top = row * columns + column
    right_top, left_bottom = left_top + 1, left_top + columns
    right_bottom = left_bottom + 1
    pairs = np.stack([left_top, left_bottom, right_bottom, left_top, right_bottom, right_top], axis=-1)
    return pairs.reshape(-1, 3).astype(np.int64)


def stitched_faces(blocks: npt.NDArray[np.bool_], size: int, width: int) -> npt.NDArray[np.int64]:
    """Triangles of the set blocks, `size` (even) x `size` cells each, of a grid `width` cells wide.

    Each block is a fan about its centre. A side shared with another set block is one edge, any other side
    has all corners of the grid, so that it fits `grid_faces` of the cells beyond it without cracks. Turns
    like `grid_faces`.
    """
    columns = width + 1
    row, column = (index * size for index in np.nonzero(blocks))
    centre = (row + size // 2) * columns + column + size // 2
    beside = np.pad(blocks, 1)
    faces = [np.empty((0, 3), np.int64)]
    # Sides in the order left, bottom, right, top: start corner, direction, and the block beyond.
    for (y, x), (down, right), (above, left) in (
        ((0, 0), (1, 0), (1, 0)),
        ((size, 0), (0, 1), (2, 1)),
        ((size, size), (-1, 0), (1, 2)),
        ((0, size), (0, -1), (0, 1)),
    ):
        start = (row + y) * columns + column + x
        step = down * columns + right
        shared = beside[above : above + blocks.shape[0], left : left + blocks.shape[1]][blocks]
        faces.append(np.stack([centre, start, start + size * step], axis=-1)[shared])
        faces += [
            np.stack([centre, start + k * step, start + (k + 1) * step], axis=-1)[~shared]
            for k in range(size)
        ]
    return np.concatenate(faces)


def write_glb(path: Path, *meshes: TexturedMesh) -> None:
    """Writes meshes as one binary glTF, textures as PNG inside; colours and positions survive exactly.

    glTF has y up: (x, y, z) becomes (x, z, -y), which Blender's importer turns back into our axes.
    """
    import trimesh  # half a second that checking a scene should not pay

    names = (
        [path.stem] if len(meshes) == 1 else [f"{path.stem}_{number}" for number in range(1, len(meshes) + 1)]
    )
    surfaces = {}
    for name, mesh in zip(names, meshes, strict=True):
        x, y, z = mesh.vertices_m.T
        material = trimesh.visual.material.PBRMaterial(
            name=name,
            baseColorTexture=Image.fromarray(mesh.texture),
            metallicFactor=0.0,
            roughnessFactor=1.0,
            doubleSided=True,
        )
        from_bottom = np.stack(
            [mesh.uv[:, 0], 1.0 - mesh.uv[:, 1]], axis=-1
        )  # trimesh turns v over once more
        surfaces[name] = trimesh.Trimesh(
            vertices=np.stack([x, z, -y], axis=-1),
            faces=mesh.faces,
            visual=trimesh.visual.TextureVisuals(uv=from_bottom, material=material),
            process=False,
        )
    path.write_bytes(trimesh.Scene(surfaces).export(file_type="glb"))
