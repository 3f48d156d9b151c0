"""Where everything is at every frame, without rendering: for programs that show a scene while it is made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from i2v3d.artifacts.scene_spec import SceneSpec
from i2v3d.blender.checks import mesh_path
from i2v3d.blender.inside.build import add_object, add_pivot
from i2v3d.blender.inside.camera import read_camera, unit_m
from i2v3d.blender.inside.frames import load_blend
from i2v3d.blender.inside.nodes import FACE_KINDS, everything
from i2v3d.blender.inside.roles import role
from i2v3d.blender.inside.settings import reset
from i2v3d.blender.jobs import LookJob, MotionJob
from i2v3d.errors import InputError

Array = NDArray[Any]
GREY = 200  # of faces without colours, sRGB


def write_motion(job: MotionJob) -> None:
    """Writes out/motion.npz of scene_dir/scene.json: of each object where its pivot is, and of those that actions and
    shape keys move, or whose files only Blender reads, their surface at every frame. Raises InputError as the build."""
    scene_dir = Path(job.scene_dir)
    spec = SceneSpec.load(scene_dir / "scene.json")
    reset()
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = spec.fps, 1.0
    frames = range(spec.start_frame, spec.last_frame + 1)
    pivots: dict[str, bpy.types.Object] = {}
    shaped: dict[str, list[bpy.types.Object]] = {}
    for item in spec.objects:
        if item.actions or item.shape_keys or item.mesh.lower().endswith(".fbx"):
            pivots[item.name], shaped[item.name] = add_object(
                scene, item, mesh_path(item, scene_dir), spec.lighting.style
            )
        else:
            pivots[item.name] = add_pivot(scene, item)
    arrays: dict[str, Array] = {}
    poses: dict[str, list[Array]] = {name: [] for name in pivots}
    surfaces: dict[str, list[Array]] = {name: [] for name in shaped}
    for frame in frames:
        scene.frame_set(frame)
        for name, pivot in pivots.items():
            poses[name].append(np.array(pivot.matrix_world, dtype=np.float64))
        for name, meshes in shaped.items():
            surfaces[name].append(np.concatenate([_surface(mesh)[0] for mesh in meshes]))
    for name, all_poses in poses.items():
        arrays[f"poses/{name}"] = np.stack(all_poses)
    for name, points in surfaces.items():
        arrays |= _joined(name, shaped[name], np.stack(points))
    np.savez(Path(job.out) / "motion.npz", **arrays)


def write_look(job: LookJob) -> None:
    """Writes out/look.json and out/look.npz of any .blend: its objects with faces, their roles, surfaces in metres at
    every frame (one, if nothing moves), whether they are shown, and the cameras. Raises InputError if it cannot be
    opened, RenderError as `read_camera`."""
    load_blend(Path(job.blend), InputError)
    scene = bpy.context.scene
    scale = unit_m(scene)
    items = [item for item in everything(scene) if item.type in FACE_KINDS]
    points: dict[str, list[Array]] = {item.name: [] for item in items}
    shown: dict[str, list[bool]] = {item.name: [] for item in items}
    cameras = []
    for frame in range(job.first_frame, job.last_frame + 1):
        scene.frame_set(frame)
        K, w2c = read_camera(scene)
        cameras.append({"K": K.tolist(), "w2c": w2c.tolist()})
        for item in items:
            points[item.name].append(scale * _surface(item)[0])
            shown[item.name].append(not item.hide_render)
    arrays: dict[str, Array] = {}
    for item in items:
        moving = points[item.name]
        even = all(one.shape == moving[0].shape for one in moving)
        still = not even or all(np.array_equal(one, moving[0]) for one in moving)
        arrays |= _joined(item.name, [item], np.stack(moving[:1] if still else moving))
    contents = {
        "objects": [
            {"name": item.name, "role": role(item), "kind": item.type, "shown": shown[item.name]}
            for item in items
        ],
        "collections": [c.name for c in bpy.data.collections],
        "cameras": cameras,
    }
    (Path(job.out) / "look.json").write_text(json.dumps(contents))
    np.savez(Path(job.out) / "look.npz", **arrays)


def _joined(name: str, items: list[bpy.types.Object], points: Array) -> Mapping[str, Array]:
    """One object's surface. points: (T, n, 3), of all its meshes together."""
    faces, colours, count = [], [], 0
    for item in items:
        vertices, corners, colour = _surface(item)
        faces.append(corners + count)
        colours.append(colour)
        count += len(vertices)
    return {
        f"points/{name}": points.astype(np.float32),
        f"faces/{name}": np.concatenate(faces).astype(np.int32),
        f"colours/{name}": np.concatenate(colours),
    }


def _surface(item: bpy.types.Object) -> tuple[Array, Array, Array]:
    """World vertices (n, 3) of an evaluated object at the present frame, triangles (m, 3), and sRGB colours (n, 3)."""
    evaluated = item.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = evaluated.to_mesh()
    if mesh is None:
        return np.empty((0, 3)), np.empty((0, 3), np.int64), np.empty((0, 3), np.uint8)
    mesh.calc_loop_triangles()
    local = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", local)
    corners = np.empty(3 * len(mesh.loop_triangles), np.int32)
    mesh.loop_triangles.foreach_get("vertices", corners)
    pose = np.array(evaluated.matrix_world, dtype=np.float64)
    colours = _colours(mesh, [slot.material for slot in item.material_slots])
    points = local.reshape(-1, 3).astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]
    evaluated.to_mesh_clear()
    return points, corners.reshape(-1, 3).astype(np.int64), colours


def _colours(mesh: bpy.types.Mesh, materials: list[bpy.types.Material | None]) -> Array:
    """sRGB of every vertex (n, 3) uint8: its material's picture where a corner lies, else that one's colour."""
    colours = np.full((len(mesh.vertices), 3), GREY, np.uint8)
    layer = mesh.uv_layers.active
    uv = np.zeros(2 * len(mesh.loops), np.float32)
    if layer is not None:
        layer.data.foreach_get("uv", uv)
    corners = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", corners)
    used = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("material_index", used)
    sizes = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("loop_total", sizes)
    material_of = np.repeat(used, sizes)
    for number, material in enumerate(materials):
        here = np.flatnonzero(material_of == number)
        if material is not None and len(here):
            colours[corners[here]] = _sampled(material, uv.reshape(-1, 2)[here])
    return colours


def _sampled(material: bpy.types.Material, uv: Array) -> Array:
    """A material's colour at points of its picture (n, 2), as sRGB (n, 3)."""
    nodes = material.node_tree.nodes if material.node_tree else ()
    image = next((node.image for node in nodes if node.type == "TEX_IMAGE" and node.image is not None), None)
    if image is None or not image.size[0]:
        plain = np.array(_plain(material, nodes))
        return np.broadcast_to((255 * np.clip(plain, 0, 1) ** (1 / 2.2) + 0.5).astype(np.uint8), (len(uv), 3))
    width, height = image.size
    pixels = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(pixels)
    picture = pixels.reshape(height, width, image.channels)[..., :3]
    column = np.clip((uv[:, 0] % 1.0 * width).astype(int), 0, width - 1)
    row = np.clip((uv[:, 1] % 1.0 * height).astype(int), 0, height - 1)
    found = np.broadcast_to(picture[row, column], (len(uv), 3))
    return np.asarray(255 * np.clip(found, 0, 1) + 0.5).astype(np.uint8)


def _plain(material: bpy.types.Material, nodes: Any) -> tuple[float, float, float]:
    """A material's colour without a picture, linear."""
    for node in nodes:
        for socket in ("Base Color", "Color"):
            if node.type.startswith(("BSDF", "EMISSION")) and socket in node.inputs:
                red, green, blue, _ = node.inputs[socket].default_value
                return red, green, blue
    red, green, blue, _ = material.diffuse_color
    return red, green, blue
