"""Mesh files into Blender, one way for every format: OBJ, GLB and glTF, FBX, PLY."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix, Vector

from i2v3d.errors import InputError
from i2v3d.scene.mesh_files.facts import far_offset

log = logging.getLogger(__name__)

OPAQUE_DEPTHS = (8, 16, 24, 48, 96)  # bits a pixel of pictures without transparency
_NUMBER = re.compile(r"\.\d{3}$")  # Blender's, behind a name that is in use
_LAYER = re.compile(r"(Base|Animation)? ?Layer ?\d*(\.\d{3})?")

# World axes are z up. OBJ is y up by convention, glTF by definition; FBX says its own; PLY is taken as it is.
_IMPORTERS: Mapping[str, Callable[[str], object]] = {
    ".obj": lambda file: bpy.ops.wm.obj_import(
        filepath=file, forward_axis="NEGATIVE_Z", up_axis="Y", validate_meshes=True
    ),
    ".ply": lambda file: bpy.ops.wm.ply_import(
        filepath=file, forward_axis="Y", up_axis="Z", merge_verts=False, import_colors="SRGB"
    ),
    ".fbx": lambda file: bpy.ops.import_scene.fbx(filepath=file, use_anim=True),
    ".glb": lambda file: _import_gltf(file),
    ".gltf": lambda file: _import_gltf(file),
}


@dataclass(frozen=True)
class Binding:
    """What an animation moves: an object or the shape keys of a mesh, by one slot of a Blender action."""

    target: bpy.types.ID
    action: bpy.types.Action
    slot: bpy.types.ActionSlot


@dataclass(frozen=True)
class Imported:
    """What came out of one mesh file.

    actions: by their names in the file; one animation can move several objects and their shape keys.
    fps: frames a second that the keys of these actions count in.
    """

    objects: tuple[bpy.types.Object, ...]
    actions: Mapping[str, tuple[Binding, ...]]
    fps: float

    @property
    def roots(self) -> tuple[bpy.types.Object, ...]:
        """The objects without a parent."""
        return tuple(item for item in self.objects if item.parent is None)

    @property
    def meshes(self) -> tuple[bpy.types.Object, ...]:
        """The objects with faces."""
        return tuple(item for item in self.objects if item.type == "MESH" and len(item.data.polygons))

    def shape_keys(self) -> dict[str, list[bpy.types.ShapeKey]]:
        """Name of every shape key, the basis left out, and the blocks of that name in all meshes."""
        found: dict[str, list[bpy.types.ShapeKey]] = {}
        for item in self.meshes:
            keys = item.data.shape_keys
            for block in keys.key_blocks if keys else ():
                if block != keys.reference_key:
                    found.setdefault(block.name, []).append(block)
        return found


def import_mesh(path: Path) -> Imported:
    """Imports a mesh file that passed `check_mesh`; the scene's frame rate and range stay as they are.

    Cameras, lights and the shapes that importers draw bones with are dropped. Raises InputError if the
    importer refuses the file or nothing with faces comes out.
    """
    scene = bpy.context.scene
    timing = (scene.render.fps, scene.render.fps_base, scene.frame_start, scene.frame_end)
    objects, actions = set(bpy.data.objects), set(bpy.data.actions)
    try:
        _IMPORTERS[path.suffix.lower()](str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"Blender cannot read mesh {path} ({reason}); export it again") from error
    finally:
        fps = scene.render.fps / scene.render.fps_base  # an FBX sets its own, which its keys count in
        scene.render.fps, scene.render.fps_base, scene.frame_start, scene.frame_end = timing
    added = _keep([item for item in bpy.data.objects if item not in objects])
    found = named_actions([action for action in bpy.data.actions if action not in actions], added)
    imported = Imported(tuple(added), found, fps)
    if not imported.meshes:
        raise InputError(f"mesh {path} has no faces; export it again with its geometry")
    _validate(path, imported.meshes)
    _stop_animations(imported.objects)
    _bring_near(path, imported)
    if path.suffix.lower() == ".obj":
        _read_opacity_maps(imported.meshes)
    return imported


def _read_opacity_maps(meshes: tuple[bpy.types.Object, ...]) -> None:
    """Takes a grey picture of OBJ's map_d for what it is: the importer reads the transparency that it has not."""
    for material in {slot.material for item in meshes for slot in item.material_slots if slot.material}:
        for node in material.node_tree.nodes if material.node_tree else ():
            alpha = node.inputs["Alpha"] if node.type == "BSDF_PRINCIPLED" else None
            source = alpha.links[0].from_node if alpha is not None and alpha.is_linked else None
            if source is not None and source.type == "TEX_IMAGE" and source.image is not None:
                source.image.update()
                if source.image.depth in OPAQUE_DEPTHS:
                    source.image.colorspace_settings.name = "Non-Color"
                    material.node_tree.links.new(source.outputs["Color"], alpha)


def _bring_near(path: Path, imported: Imported) -> None:
    """Moves objects that stand too far from their file's origin for single precision, all of them together, to it."""
    bpy.context.view_layer.update()
    corners = []
    for item in imported.meshes:
        pose = np.array(item.matrix_world, dtype=np.float64)
        corners.append(np.array(item.bound_box, dtype=np.float64) @ pose[:3, :3].T + pose[:3, 3])
    offset = Vector(far_offset(np.concatenate(corners)))
    if offset.length == 0:
        return
    where = ", ".join(f"{value:.6g}" for value in offset)
    log.warning(
        "mesh %s stands at (%s), too far for single precision: it is moved to its origin", path, where
    )
    for root in imported.roots:
        root.matrix_world = Matrix.Translation(-offset) @ root.matrix_world
    bpy.context.view_layer.update()


def _import_gltf(file: str) -> object:
    return bpy.ops.import_scene.gltf(
        filepath=file, merge_vertices=False, import_shading="NORMALS", disable_bone_shape=True
    )


def _keep(added: list[bpy.types.Object]) -> list[bpy.types.Object]:
    """Removes cameras, lights and bone shapes; returns the other objects."""
    shapes = {
        bone.custom_shape
        for item in added
        if item.type == "ARMATURE"
        for bone in item.pose.bones
        if bone.custom_shape is not None
    }
    for item in [item for item in added if item.type in ("CAMERA", "LIGHT") or item in shapes]:
        added.remove(item)
        bpy.data.objects.remove(item)
    return added


def _validate(path: Path, meshes: tuple[bpy.types.Object, ...]) -> None:
    """Repairs what Blender itself calls invalid (it may crash on it later), and says so."""
    for item in meshes:
        mesh = item.data
        positions = np.empty(3 * len(mesh.vertices), dtype=np.float32)
        mesh.vertices.foreach_get("co", positions)
        if not np.isfinite(positions).all():
            raise InputError(f"mesh {path} has vertices that are not finite; repair it and try again")
        if mesh.validate(clean_customdata=False):
            log.warning("mesh %s (%s) had invalid faces or edges, which Blender left out", path, item.name)


def _stop_animations(objects: Iterable[bpy.types.Object]) -> None:
    """Takes off whatever the importer set going: only what the scene asks for moves."""
    for item in objects:
        item.animation_data_clear()
        if item.type == "MESH" and item.data.shape_keys:
            item.data.shape_keys.animation_data_clear()


def named_actions(
    actions: Iterable[bpy.types.Action], objects: Iterable[bpy.types.Object]
) -> dict[str, tuple[Binding, ...]]:
    """Animations by the name that the file gives them, each with what it moves.

    glTF has one action an animation, with a slot for every target that bears its name. FBX has one action a
    target, called target|animation|layer, where exporters may put the target before the animation again;
    Blender appends '.001' to a name in use.
    """
    targets = [("OBJECT", item) for item in objects]
    shapes = [item.data.shape_keys for item in objects if item.type == "MESH" and item.data.shape_keys]
    targets += [("KEY", shape) for shape in shapes]
    names = {_plain(target.name) for _, target in targets}
    named: dict[str, tuple[Binding, ...]] = {}
    for action in actions:
        first, *_ = parts = [_plain(part) for part in action.name.split("|")]
        while len(parts) > 1 and parts[0] in names:
            del parts[0]
        if len(parts) > 1 and _LAYER.fullmatch(parts[-1]):
            del parts[-1]
        name = "|".join(parts)
        for slot in action.slots:
            bears = {_plain(slot.name_display), first}
            bound = [
                Binding(target, action, slot)
                for kind, target in targets
                if kind == slot.target_id_type and _plain(target.name) in bears
            ]
            named[name] = (*named.get(name, ()), *bound)
    return named


def _plain(name: str) -> str:
    return _NUMBER.sub("", name)
