"""What an object is to the masks: foreground, background, by a custom property or its ancestors'."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import bpy
import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray

from i2v3d.blender.inside.nodes import FACE_KINDS, everything
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
    """The objects with faces of the foreground that are rendered, those of instanced collections included."""
    return [
        o for o in everything(scene) if o.type in FACE_KINDS and not o.hide_render and role(o) == "foreground"
    ]


def hide_all_but(scene: bpy.types.Scene, keep: Iterable[bpy.types.Object]) -> None:
    """Hides every other object from the render, whatever its keys say; lights and what shows kept instances stay."""
    kept = set(keep)
    for item in scene.objects:
        shows = item.instance_collection is not None and not kept.isdisjoint(
            item.instance_collection.all_objects
        )
        if item in kept or item.type == "LIGHT" or shows:
            continue
        item.hide_render = True
        if item.animation_data is not None and item.animation_data.action is not None:
            curves = item.animation_data.action.fcurves
            if (curve := curves.find("hide_render")) is not None:
                curves.remove(curve)


def rendered_pieces(items: Iterable[bpy.types.Object]) -> Iterator[tuple[bpy.types.Object, Matrix]]:
    """Evaluated objects with faces and all their instances at the current frame, each with its place in the world."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    wanted, scene = set(items), bpy.context.scene
    for item in sorted((item for item in wanted if item.name in scene.objects), key=lambda item: item.name):
        evaluated = item.evaluated_get(depsgraph)
        yield evaluated, evaluated.matrix_world
    for instance in depsgraph.object_instances:
        if instance.is_instance and instance.object.original in wanted:
            yield instance.object, instance.matrix_world


def world_vertices(items: Iterable[bpy.types.Object]) -> NDArray[np.float64]:
    """(N, 3) evaluated vertices of objects with faces and all their instances, in world units, at the current frame."""
    return np.concatenate([np.zeros((0, 3)), *(_vertices(*piece) for piece in rendered_pieces(items))])


def _vertices(evaluated: bpy.types.Object, matrix_world: Matrix) -> NDArray[np.float64]:
    """(n, 3) vertices that an evaluated object is rendered with, placed by a matrix."""
    mesh = evaluated.to_mesh()
    if mesh is None:
        return np.zeros((0, 3))
    local = np.empty(3 * len(mesh.vertices), dtype=np.float32)
    mesh.vertices.foreach_get("co", local)
    evaluated.to_mesh_clear()
    pose = np.array(matrix_world, dtype=np.float64)
    return local.reshape(-1, 3) @ pose[:3, :3].T + pose[:3, 3]
