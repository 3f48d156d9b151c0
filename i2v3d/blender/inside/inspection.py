"""What a user's mesh file holds: geometry, animations, shape keys, bones."""

from __future__ import annotations

import json
from pathlib import Path

import bpy
import numpy as np

from i2v3d.blender.inside.importer import Imported, import_mesh
from i2v3d.blender.inside.settings import reset


def write_contents(mesh: Path, out: Path) -> None:
    """Writes out/contents.json (names) and out/geometry.npz (vertices_m, faces). Raises InputError."""
    reset()
    imported = import_mesh(mesh)
    bpy.context.view_layer.update()
    bones = {bone.name for item in imported.objects if item.type == "ARMATURE" for bone in item.data.bones}
    contents = {
        "actions": action_seconds(imported),
        "shape_keys": sorted(imported.shape_keys()),
        "bones": sorted(bones),
    }
    (out / "contents.json").write_text(json.dumps(contents))
    vertices_m, faces = _geometry(imported)
    np.savez(out / "geometry.npz", vertices_m=vertices_m, faces=faces)


def action_seconds(imported: Imported) -> dict[str, float]:
    """How long each animation of a file lasts."""
    return {
        name: max((b.action.frame_range[1] - b.action.frame_range[0] for b in bindings), default=0.0)
        / imported.fps
        for name, bindings in sorted(imported.actions.items())
    }


def _geometry(imported: Imported) -> tuple[np.ndarray, np.ndarray]:
    """(n, 3) evaluated vertices in world metres and (m, 3) triangles of all meshes."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    clouds, triangles, count = [], [], 0
    for item in imported.meshes:
        evaluated = item.evaluated_get(depsgraph)
        mesh = evaluated.to_mesh()
        mesh.calc_loop_triangles()
        local = np.empty(3 * len(mesh.vertices), np.float32)
        mesh.vertices.foreach_get("co", local)
        corners = np.empty(3 * len(mesh.loop_triangles), np.int32)
        mesh.loop_triangles.foreach_get("vertices", corners)
        pose = np.array(evaluated.matrix_world)
        clouds.append(local.reshape(-1, 3) @ pose[:3, :3].T + pose[:3, 3])
        triangles.append(corners.reshape(-1, 3).astype(np.int64) + count)
        count += len(mesh.vertices)
        evaluated.to_mesh_clear()
    return np.concatenate(clouds).astype(np.float32), np.concatenate(triangles)
