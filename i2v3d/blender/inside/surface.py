"""The surface of the foreground as points, for shadows that light casts after the render."""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray

from i2v3d.blender.inside.roles import foreground_meshes, rendered_pieces

Array = NDArray[np.float64]


def surface_points(scene: bpy.types.Scene, count: int) -> NDArray[np.float32]:
    """(count, 3) points of the foreground as it is rendered at the current frame, in world units, evenly by area.

    The points of one topology are the same ones in all frames. (0, 3) where there is no surface.
    """
    pieces = rendered_pieces(foreground_meshes(scene))
    corners = np.concatenate([np.zeros((0, 3, 3)), *(_corners(*piece) for piece in pieces)])
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1)
    if not area.sum() > 0:
        return np.zeros((0, 3), dtype=np.float32)
    # Where in the running sum of areas, and where in the triangle: a lattice of irrational steps leaves no gaps.
    number = np.arange(count)[:, None]
    along, u, v = ((number + 0.5) * [1 / count, 0.7548776662466927, 0.5698402909980532] % 1).T
    chosen = corners[np.searchsorted(np.cumsum(area) / area.sum(), along).clip(max=len(area) - 1)]
    outside = u + v > 1
    u, v = np.where(outside, 1 - u, u), np.where(outside, 1 - v, v)
    first, second, third = (chosen[:, i] for i in range(3))
    points = first + u[:, None] * (second - first) + v[:, None] * (third - first)
    return points.astype(np.float32)


def _corners(evaluated: bpy.types.Object, matrix_world: Matrix) -> Array:
    """(T, 3, 3) corners of the triangles of an evaluated object, placed by a matrix."""
    mesh = evaluated.to_mesh()
    if mesh is None:
        return np.zeros((0, 3, 3))
    mesh.calc_loop_triangles()
    local = np.empty(3 * len(mesh.vertices), dtype=np.float32)
    index = np.empty(3 * len(mesh.loop_triangles), dtype=np.int32)
    mesh.vertices.foreach_get("co", local)
    mesh.loop_triangles.foreach_get("vertices", index)
    evaluated.to_mesh_clear()
    pose = np.array(matrix_world, dtype=np.float64)
    placed = local.reshape(-1, 3) @ pose[:3, :3].T + pose[:3, 3]
    corners: Array = placed[index.reshape(-1, 3)]
    return corners
