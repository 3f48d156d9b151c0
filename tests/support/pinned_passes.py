"""Run in a process of its own: one .blend for every setting, all rendered with settings pinned.

`python -m tests.support.pinned_passes OUT` writes OUT/passes.npz, NAME.KIND -> array, "as it is" for no change.
The scene: a box before a leaf whose texture has holes and half-transparent parts, before ground; the camera moves.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import bpy
import numpy as np

from i2v3d.artifacts.scene_spec import SceneSpec
from i2v3d.blender.inside.frames import open_scene, render_still
from i2v3d.blender.inside.roles import ROLE
from tests.support.pinned_changes import CHANGES

WIDTH, HEIGHT = 32, 24


def _plain(folder: Path) -> SceneSpec:
    """Saves folder/scene.blend as an artist's and folder/scene.json; returns the latter."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    inner = bpy.data.collections.new("things")
    scene.collection.children.link(inner)
    box = _added(bpy.ops.mesh.primitive_cube_add, inner, size=0.8, location=(0.3, 0, 0.4))
    box.name, box[ROLE] = "box", "foreground"
    box.data.materials.append(_leafy("plain", holes=False))
    leaf = _added(bpy.ops.mesh.primitive_plane_add, inner, size=1.6, location=(-0.3, -0.7, 0.6))
    leaf.name, leaf[ROLE] = "leaf", "foreground"
    leaf.rotation_euler.x = 1.4
    leaf.data.materials.append(_leafy("leafy", holes=True))
    for frame, x in ((1, 0.0), (3, 0.4)):
        box.location.x = x
        box.keyframe_insert("location", frame=frame)
    _added(bpy.ops.mesh.primitive_plane_add, inner, size=30)
    data = bpy.data.cameras.new("camera")
    scene.camera = bpy.data.objects.new("camera", data)
    scene.collection.objects.link(scene.camera)
    scene.camera.location, scene.camera.rotation_euler = (0, -4, 1.2), (1.4, 0, 0)
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "scene.blend"))
    spec = SceneSpec("pins", WIDTH, HEIGHT, 3, 8, WIDTH / 2, HEIGHT / 2, (), ())
    spec.save(folder / "scene.json")
    return spec


def _added(operator, collection: bpy.types.Collection, **words) -> bpy.types.Object:
    operator(**words)
    item = bpy.context.object
    item.users_collection[0].objects.unlink(item)
    collection.objects.link(item)
    return item


def _leafy(name: str, *, holes: bool) -> bpy.types.Material:
    """Shines in its own colour; with holes: a checker of nothing, 0.3, 0.7 and all opaque."""
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    tree = material.node_tree
    shader = next(node for node in tree.nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Base Color"].default_value = (0, 0, 0, 1)
    shader.inputs["Emission Color"].default_value = (0.2, 0.6, 0.1, 1) if holes else (0.8, 0.2, 0.1, 1)
    shader.inputs["Emission Strength"].default_value = 1
    if holes:
        image = bpy.data.images.new("alpha", 2, 2, alpha=True)
        image.pixels = [v for alpha in (0.0, 0.3, 0.7, 1.0) for v in (1, 1, 1, alpha)]
        image.pack()
        picture = tree.nodes.new("ShaderNodeTexImage")
        picture.image, picture.interpolation = image, "Closest"
        tree.links.new(picture.outputs["Alpha"], shader.inputs["Alpha"])
    return material


def _passes(folder: Path) -> dict[str, np.ndarray]:
    open_scene(folder, samples=16, device="cpu", threads=1)
    scene = bpy.context.scene
    scene.frame_set(2)
    found = render_still(scene, folder)
    return {
        "colour": found.colour,
        "depth": found.depth_m,
        "index": np.where(found.visible, found.index, 0),
        "flow": found.flow_px,
    }


def main(out: Path) -> None:
    """Renders every change."""
    results: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        _plain(folder)
        plain = (folder / "scene.blend").read_bytes()
        for name, code in {"as it is": "", **CHANGES}.items():
            (folder / "scene.blend").write_bytes(plain)
            bpy.ops.wm.open_mainfile(filepath=str(folder / "scene.blend"))
            scene = bpy.context.scene
            words = {"s": scene, "r": scene.render, "y": scene.cycles, "c": scene.camera.data}
            exec(code, {"bpy": bpy, "o": bpy.data.objects["box"], **words})
            bpy.ops.wm.save_mainfile()
            results |= {f"{name}.{kind}": values for kind, values in _passes(folder).items()}
    np.savez(out / "passes.npz", **results)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)
