"""What an object is to the masks: foreground, background, by a custom property or its ancestors'."""

from __future__ import annotations

from collections.abc import Iterable

import bpy
import numpy as np
from numpy.typing import NDArray

from i2v3d.blender.inside.nodes import everything
from i2v3d.blender.inside.passes import BACKGROUND, FOREGROUND

ROLE = "i2v3d_role"  # custom property of objects: foreground or background


def role(item: bpy.types.Object) -> str:
    """'foreground' or 'background': what the object or its nearest ancestor says, else background."""
    here: bpy.types.Object | None = item
    while here is not None:
        if ROLE in here:
            return str(here[ROLE])
        here = here.parent
    return "background"


def assign_indices(scene: bpy.types.Scene) -> None:
    """Gives every object the object index of its role, so that an artist's additions are seen as well."""
    for item in everything(scene):
        item.pass_index = FOREGROUND if role(item) == "foreground" else BACKGROUND


def foreground_meshes(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """The mesh objects of the foreground that are rendered."""
    return [o for o in scene.objects if o.type == "MESH" and not o.hide_render and role(o) == "foreground"]


def hide_all_but(scene: bpy.types.Scene, keep: Iterable[bpy.types.Object]) -> None:
    """Hides every other object from the render, whatever its keys say; lights stay on."""
    kept = set(keep)
    for item in scene.objects:
        if item in kept or item.type == "LIGHT":
            continue
        item.hide_render = True
        if item.animation_data is not None and item.animation_data.action is not None:
            curves = item.animation_data.action.fcurves
            if (curve := curves.find("hide_render")) is not None:
                curves.remove(curve)


def world_vertices(items: Iterable[bpy.types.Object]) -> NDArray[np.float64]:
    """(N, 3) evaluated vertices of mesh objects in world metres, at the scene's current frame."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    clouds = [np.zeros((0, 3))]
    for item in items:
        evaluated = item.evaluated_get(depsgraph)
        mesh = evaluated.to_mesh()
        local = np.empty(3 * len(mesh.vertices), dtype=np.float32)
        mesh.vertices.foreach_get("co", local)
        evaluated.to_mesh_clear()
        pose = np.array(evaluated.matrix_world, dtype=np.float64)
        clouds.append(local.reshape(-1, 3) @ pose[:3, :3].T + pose[:3, 3])
    return np.concatenate(clouds)
