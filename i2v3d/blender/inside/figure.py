"""A small rigged figure, made from nothing: one skinned mesh, a skeleton, three actions and a shape key.

It is 1 m tall, stands on the origin and faces -y. The colours carry a light from above, so that it looks
round in the flat style, too. The same numbers come out every time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix, Vector

from i2v3d.blender.inside.settings import reset

NAME = "figure"
FPS = 24
CYCLE = 24  # frames of every action: one second
PALETTE: Mapping[str, tuple[float, float, float]] = {  # sRGB
    "suit": (0.20, 0.45, 0.75),
    "boots": (0.95, 0.55, 0.15),
    "skin": (0.96, 0.80, 0.66),
    "dark": (0.12, 0.12, 0.15),
}
SHADES = 32  # rows of the texture, from below to above
CELL = 8  # columns a colour
RINGS, SEGMENTS = 10, 16  # of every part
LIGHT = np.array([0.3, -0.35, 0.89])  # where it comes from

# Bones: parent, head and tail in metres.
BONES: Mapping[str, tuple[str | None, tuple[float, float, float], tuple[float, float, float]]] = {
    "hips": (None, (0, 0, 0.46), (0, 0, 0.56)),
    "chest": ("hips", (0, 0, 0.56), (0, 0, 0.72)),
    "head": ("chest", (0, 0, 0.72), (0, 0, 1.0)),
    "arm.L": ("chest", (0.13, 0, 0.68), (0.24, 0, 0.53)),
    "hand.L": ("arm.L", (0.24, 0, 0.53), (0.30, 0, 0.38)),
    "arm.R": ("chest", (-0.13, 0, 0.68), (-0.24, 0, 0.53)),
    "hand.R": ("arm.R", (-0.24, 0, 0.53), (-0.30, 0, 0.38)),
    "thigh.L": ("hips", (0.075, 0, 0.46), (0.085, 0, 0.25)),
    "shin.L": ("thigh.L", (0.085, 0, 0.25), (0.085, 0.01, 0.05)),
    "thigh.R": ("hips", (-0.075, 0, 0.46), (-0.085, 0, 0.25)),
    "shin.R": ("thigh.R", (-0.085, 0, 0.25), (-0.085, 0.01, 0.05)),
}


@dataclass(frozen=True)
class _Part:
    """An ellipsoid: centre and radii in metres, colour, the bone that carries it; axis: what its z follows."""

    bone: str
    colour: str
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    axis: tuple[float, float, float] = (0.0, 0.0, 1.0)


def _limb(bone: str, colour: str, thickness: float, centre: float = 0.5, reach: float = 0.62) -> _Part:
    """An ellipsoid along a bone, a little longer than it."""
    head, tail = (np.array(point, dtype=float) for point in BONES[bone][1:])
    middle, axis = head + centre * (tail - head), tail - head
    length = reach * float(np.linalg.norm(axis))
    return _Part(bone, colour, tuple(middle), (thickness, thickness, length), tuple(axis))


def _parts() -> list[_Part]:
    parts = [
        _Part("hips", "suit", (0, 0, 0.49), (0.125, 0.095, 0.09)),
        _Part("chest", "suit", (0, 0, 0.61), (0.135, 0.10, 0.15)),
        _Part("head", "skin", (0, 0, 0.855), (0.135, 0.13, 0.145)),
        _Part("head", "boots", (0, 0.025, 0.91), (0.142, 0.128, 0.105)),
        _Part("head", "dark", (0, -0.125, 0.80), (0.04, 0.012, 0.008)),
    ]
    for side, sign in (("L", 1), ("R", -1)):
        parts += [
            _limb(f"arm.{side}", "suit", 0.048),
            _limb(f"hand.{side}", "suit", 0.042),
            _Part(f"hand.{side}", "skin", (sign * 0.305, 0, 0.37), (0.05, 0.05, 0.05)),
            _limb(f"thigh.{side}", "suit", 0.068),
            _limb(f"shin.{side}", "suit", 0.056),
            _Part(f"shin.{side}", "boots", (sign * 0.085, -0.03, 0.04), (0.06, 0.10, 0.045)),
            _Part("head", "dark", (sign * 0.05, -0.122, 0.865), (0.018, 0.012, 0.026)),
        ]
    return parts


def write_figure(path: Path) -> None:
    """Writes the figure as .glb or .fbx, by the suffix of `path`, at 24 frames a second."""
    build_figure()
    if path.suffix.lower() == ".fbx":
        bpy.ops.export_scene.fbx(
            filepath=str(path),
            object_types={"ARMATURE", "MESH"},
            add_leaf_bones=False,
            bake_anim_use_nla_strips=False,
            bake_anim_use_all_actions=True,
            bake_anim_simplify_factor=0.0,
            path_mode="COPY",
            embed_textures=True,
        )
        return
    bpy.ops.export_scene.gltf(
        filepath=str(path),
        export_format="GLB",
        export_animation_mode="ACTIONS",
        export_optimize_animation_size=True,
        export_image_format="AUTO",
    )


def build_figure() -> tuple[bpy.types.Object, bpy.types.Object]:
    """Builds the figure in an empty file; returns its skeleton and its mesh, at rest."""
    reset()
    scene = bpy.context.scene
    scene.render.fps, scene.frame_start, scene.frame_end = FPS, 1, CYCLE + 1
    body = _body(scene)
    rig = _skeleton(scene)
    body.parent = rig
    body.modifiers.new("skeleton", "ARMATURE").object = rig
    rig.animation_data_create()
    for name, pose in ACTIONS.items():
        _animate(rig, name, pose)
    rig.animation_data.action = None
    return rig, body


def _body(scene: bpy.types.Scene) -> bpy.types.Object:
    """All parts as one mesh with one texture, vertex groups and the shape key 'puffed'."""
    parts = _parts()
    ball, faces = _sphere()
    vertices, normals = [], []
    for part in parts:
        turn = np.array(Vector(part.axis).to_track_quat("Z", "Y").to_matrix())
        vertices.append(ball * part.radii @ turn.T + part.centre)
        slopes = ball / part.radii @ turn.T
        normals.append(slopes / np.linalg.norm(slopes, axis=1, keepdims=True))
    mesh = bpy.data.meshes.new(NAME)
    every = [tuple(i + n * len(ball) for i in face) for n in range(len(parts)) for face in faces]
    mesh.from_pydata(np.concatenate(vertices).tolist(), [], every)
    mesh.shade_smooth()
    _unwrap(mesh, np.concatenate(normals), np.repeat([part.colour for part in parts], len(ball)))
    mesh.materials.append(_material())
    body = bpy.data.objects.new(NAME, mesh)
    scene.collection.objects.link(body)
    weights: dict[str, list[int]] = {name: [] for name in BONES}
    for number, part in enumerate(parts):
        weights[part.bone] += range(number * len(ball), (number + 1) * len(ball))
    for name, indices in weights.items():
        body.vertex_groups.new(name=name).add(indices, 1.0, "REPLACE")
    _blend_waist(body, weights["chest"])
    body.shape_key_add(name="rest")
    puffed = body.shape_key_add(name="puffed")
    for index in weights["chest"] + weights["hips"]:
        x, y, z = mesh.vertices[index].co
        puffed.data[index].co = (1.35 * x, 1.35 * y, z)
    return body


def _sphere() -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """A unit sphere: (n, 3) vertices, the lowest first and the highest last, and faces that look outwards."""
    rise = np.linspace(-math.pi / 2, math.pi / 2, RINGS + 1)[1:-1, None]
    around = np.arange(SEGMENTS) * 2 * math.pi / SEGMENTS
    height = np.broadcast_to(np.sin(rise), (RINGS - 1, SEGMENTS))
    rings = np.stack([np.cos(rise) * np.cos(around), np.cos(rise) * np.sin(around), height], axis=-1)
    points = np.concatenate([[[0, 0, -1]], rings.reshape(-1, 3), [[0, 0, 1]]])
    top = len(points) - 1
    faces: list[tuple[int, ...]] = []
    for k in range(SEGMENTS):
        here, after = 1 + k, 1 + (k + 1) % SEGMENTS
        faces.append((0, after, here))
        for ring in range(0, (RINGS - 2) * SEGMENTS, SEGMENTS):
            faces.append((here + ring, after + ring, after + ring + SEGMENTS, here + ring + SEGMENTS))
        last = (RINGS - 2) * SEGMENTS
        faces.append((here + last, after + last, top))
    return points, faces


def _blend_waist(body: bpy.types.Object, chest: list[int]) -> None:
    """The lower half of the chest follows the hips as well, the more the lower."""
    for index in chest:
        share = min(1.0, max(0.0, (body.data.vertices[index].co.z - 0.50) / 0.12))
        body.vertex_groups["chest"].add([index], share, "REPLACE")
        body.vertex_groups["hips"].add([index], 1.0 - share, "REPLACE")


def _unwrap(mesh: bpy.types.Mesh, normals: np.ndarray, colours: np.ndarray) -> None:
    """Texture coordinates: the column is a vertex's colour, the row how far its surface faces the light."""
    names = list(PALETTE)
    column = (np.array([names.index(colour) for colour in colours]) + 0.5) / len(names)
    facing = np.clip(0.5 + 0.5 * normals @ LIGHT, 0.02, 0.98)
    layer = mesh.uv_layers.new(name="UVMap")
    corners = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", corners)
    layer.data.foreach_set("uv", np.stack([column, facing], axis=-1)[corners].astype(np.float32).ravel())


def _material() -> bpy.types.Material:
    material = bpy.data.materials.new(NAME)
    material.use_nodes = True
    tree = material.node_tree
    texture = tree.nodes.new("ShaderNodeTexImage")
    texture.image = _texture()
    shader = next(node for node in tree.nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Roughness"].default_value = 1.0
    tree.links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    return material


def _texture() -> bpy.types.Image:
    """Columns of the palette's colours, dark at the bottom and light at the top."""
    shade = np.linspace(0.45, 1.0, SHADES)[:, None, None]
    row = np.repeat(np.array(list(PALETTE.values())), CELL, axis=0)[None]
    rgba = np.concatenate([shade * row, np.ones((SHADES, row.shape[1], 1))], axis=-1)
    image = bpy.data.images.new(NAME, row.shape[1], SHADES)
    image.pixels.foreach_set(rgba.astype(np.float32).ravel())
    image.file_format = "PNG"
    image.pack()
    return image


def _skeleton(scene: bpy.types.Scene) -> bpy.types.Object:
    data = bpy.data.armatures.new("skeleton")
    rig = bpy.data.objects.new("skeleton", data)
    scene.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for name, (parent, head, tail) in BONES.items():
        bone = data.edit_bones.new(name)
        bone.head, bone.tail = head, tail
        bone.align_roll((0.0, -1.0, 0.0))
        if parent is not None:
            bone.parent = data.edit_bones[parent]
    bpy.ops.object.mode_set(mode="OBJECT")
    for bone in rig.pose.bones:
        bone.rotation_mode = "QUATERNION"
    return rig


# ---------------------------------------------------------------- actions
Turns = Mapping[str, tuple[tuple[float, float, float], float]]  # bone -> axis in the world at rest, degrees
SIDEWAYS, FORWARD, UPWARD = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


def _walk(phase: float) -> Turns:
    """Legs and arms swing against each other; the knee that comes forward bends. phase: 0 to 1."""
    swing = math.sin(2 * math.pi * phase)
    bend = (max(0.0, math.cos(2 * math.pi * phase)), max(0.0, -math.cos(2 * math.pi * phase)))
    return {
        "thigh.L": (SIDEWAYS, -32 * swing),
        "thigh.R": (SIDEWAYS, 32 * swing),
        "shin.L": (SIDEWAYS, 45 * bend[0]),
        "shin.R": (SIDEWAYS, 45 * bend[1]),
        "arm.L": (SIDEWAYS, 30 * swing),
        "arm.R": (SIDEWAYS, -30 * swing),
        "chest": (UPWARD, 6 * swing),
    }


def _wave(phase: float) -> Turns:
    """The right arm is up, its hand goes to and fro twice."""
    return {
        "arm.R": (FORWARD, 125.0),
        "hand.R": (FORWARD, 20 + 35 * math.sin(4 * math.pi * phase)),
        "head": (FORWARD, 8 * math.sin(2 * math.pi * phase)),
    }


def _jump(phase: float) -> Turns:
    """Knees bend, arms go up; the jump itself is for the object's own keys."""
    crouch = 0.5 - 0.5 * math.cos(2 * math.pi * phase)
    legs: dict[str, tuple[tuple[float, float, float], float]] = {}
    for side, sign in (("L", -1), ("R", 1)):
        legs[f"thigh.{side}"] = (SIDEWAYS, -50 * crouch)
        legs[f"shin.{side}"] = (SIDEWAYS, 80 * crouch)
        legs[f"arm.{side}"] = (FORWARD, sign * 110 * crouch)
    return legs


ACTIONS: Mapping[str, Callable[[float], Turns]] = {"walk": _walk, "wave": _wave, "jump": _jump}


def _animate(rig: bpy.types.Object, name: str, pose: Callable[[float], Turns]) -> None:
    """One action of a second: a key every second frame, the last one equal to the first."""
    action = bpy.data.actions.new(name)
    action.use_fake_user = True
    rig.animation_data.action = action
    for frame in range(1, CYCLE + 2, 2):
        for bone_name, (axis, angle_deg) in pose((frame - 1) / CYCLE).items():
            bone = rig.pose.bones[bone_name]
            own = bone.bone.matrix_local.to_3x3().inverted() @ Vector(axis)  # the axis as the bone sees it
            bone.rotation_quaternion = Matrix.Rotation(math.radians(angle_deg), 3, own).to_quaternion()
            bone.keyframe_insert("rotation_quaternion", frame=frame)
    for bone in rig.pose.bones:
        bone.matrix_basis.identity()
