"""SceneSpec to a Blender scene: meshes on pivots, flat materials, keys, camera; saved as scene.blend."""

from __future__ import annotations

import math
from pathlib import Path

import bpy
from mathutils import Matrix, Vector

from i2v3d.artifacts.scene_spec import ObjectSpec, SceneSpec
from i2v3d.blender.checks import mesh_path
from i2v3d.blender.inside.camera import animate_camera
from i2v3d.blender.inside.events import key_shapes, key_visibility, play_actions
from i2v3d.blender.inside.frames import BLEND
from i2v3d.blender.inside.importer import import_mesh
from i2v3d.blender.inside.keys import set_interpolation
from i2v3d.blender.inside.lights import add_lights
from i2v3d.blender.inside.materials import make_coarse
from i2v3d.blender.inside.pictures import pack_files
from i2v3d.blender.inside.roles import ROLE
from i2v3d.blender.inside.settings import configure, reset
from i2v3d.blender.inside.sight import check_sight


def build_blend(scene_dir: Path) -> None:
    """Builds scene_dir/scene.blend from scene_dir/scene.json and its meshes, textures packed.

    Raises InputError for an action or shape key that a mesh lacks, ConfigError for a camera that stands
    inside an object or never sees the foreground.
    """
    spec = SceneSpec.load(scene_dir / "scene.json")
    reset()
    scene = bpy.context.scene
    scene.name = spec.name
    configure(scene, spec, samples=1, device="cpu", threads=0)
    for item in spec.objects:
        add_object(scene, item, mesh_path(item, scene_dir), spec.lighting.style)
    add_lights(scene, spec.lighting)
    animate_camera(scene, spec)
    check_sight(scene, spec)
    scene.frame_set(spec.start_frame)
    pack_files()
    bpy.ops.wm.save_as_mainfile(filepath=str(scene_dir / BLEND), compress=True, copy=False)


def add_object(
    scene: bpy.types.Scene, spec: ObjectSpec, path: Path, style: str
) -> tuple[bpy.types.Object, list[bpy.types.Object]]:
    """One object of the scene: its pivot, and its meshes below it with everything that happens to them."""
    imported = import_mesh(path)
    pivot = add_pivot(scene, spec)
    for root in imported.roots:
        root.parent = pivot
        root.matrix_parent_inverse = Matrix.Translation(-Vector(spec.pivot_m)) @ Matrix(spec.place)
    play_actions(imported, spec, path.name, scene.render.fps)
    key_shapes(imported, spec, path.name)
    key_visibility(imported.meshes, spec.visibility)
    for item in imported.meshes:
        item.name = item.data.name = spec.name
        item[ROLE] = spec.role
        make_coarse(item.data, style, layers_colour=path.suffix.lower() != ".fbx")
    return pivot, list(imported.meshes)


def add_pivot(scene: bpy.types.Scene, spec: ObjectSpec) -> bpy.types.Object:
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
