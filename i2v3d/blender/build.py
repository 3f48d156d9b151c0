"""SceneSpec to a Blender scene: meshes on pivots, flat materials, keys, camera; saved as scene.blend."""

from __future__ import annotations

import math
from pathlib import Path

import bpy
from mathutils import Matrix, Vector

from i2v3d.blender.camera import animate_camera
from i2v3d.blender.checks import mesh_path
from i2v3d.blender.importer import Imported, import_mesh
from i2v3d.blender.keys import set_interpolation
from i2v3d.blender.materials import make_flat
from i2v3d.blender.settings import configure, reset
from i2v3d.scene.spec import ObjectSpec, SceneSpec

ROLE = "i2v3d_role"  # custom property of objects: foreground or background
BLEND = "scene.blend"


def build_blend(scene_dir: Path) -> None:
    """Builds scene_dir/scene.blend from scene_dir/scene.json and its meshes, textures packed."""
    spec = SceneSpec.load(scene_dir / "scene.json")
    reset()
    scene = bpy.context.scene
    scene.name = spec.name
    configure(scene, spec, samples=1, device="cpu", threads=0)
    for item in spec.objects:
        pivot = _add_pivot(scene, item)
        for root in _import_object(mesh_path(item, scene_dir), item).roots:
            root.parent = pivot
            root.matrix_parent_inverse = Matrix.Translation(-Vector(item.pivot_m))
    animate_camera(scene, spec)
    scene.frame_set(1)
    bpy.ops.file.pack_all()
    bpy.ops.wm.save_as_mainfile(filepath=str(scene_dir / BLEND), compress=True, copy=False)


def _import_object(path: Path, spec: ObjectSpec) -> Imported:
    """Imports an object's mesh, makes its materials flat and marks its role. Raises InputError."""
    imported = import_mesh(path)
    for item in imported.meshes:
        item.name = item.data.name = spec.name
        item[ROLE] = spec.role
        make_flat(item.data)
    return imported


def _add_pivot(scene: bpy.types.Scene, spec: ObjectSpec) -> bpy.types.Object:
    """An empty at the object's pivot that carries all its transform keys."""
    pivot = bpy.data.objects.new(f"{spec.name}_pivot", None)
    pivot.empty_display_size = 0.1
    pivot.rotation_mode = "XYZ"
    pivot.location = spec.pivot_m
    scene.collection.objects.link(pivot)
    for key in spec.keys:
        pivot.location = [p + t for p, t in zip(spec.pivot_m, key.translation_m, strict=True)]
        pivot.rotation_euler = [math.radians(angle) for angle in key.rotation_deg]
        pivot.scale = key.scale
        for channel in ("location", "rotation_euler", "scale"):
            pivot.keyframe_insert(channel, frame=key.frame)
    set_interpolation(pivot, {key.frame: key.interpolation for key in spec.keys})
    return pivot
