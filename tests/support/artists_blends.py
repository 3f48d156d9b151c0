"""Run in a process of its own: many artists' .blend files, made and adopted one after another in one Blender.

`python -m tests.support.artists_blends OUT` writes OUT/found.json: name -> error, or depth_range_m, foreground (share),
middle (linear RGBA), eye_m, files, and warnings of either.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from PIL import Image

from i2v3d.artifacts.scene_spec import SceneSpec
from i2v3d.blender.inside.adopt import CONTENTS, adopt_blend
from i2v3d.blender.inside.frames import open_scene, render_still
from i2v3d.blender.jobs import AdoptJob
from i2v3d.errors import I2V3DError
from tests.support.artists_kinds import KINDS

WIDTH, HEIGHT, FRAMES = 36, 24, 3


def _plain() -> bpy.types.Object:
    """A red, shining cube on the ground before a camera; returns the cube."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    bpy.ops.mesh.primitive_plane_add(size=30)
    collection = bpy.data.collections.new("Collection")
    scene.collection.children.link(collection)
    bpy.ops.mesh.primitive_cube_add(size=1, location=(0, 0, 0.5))
    hero = bpy.context.object
    hero.name = "Hero"
    hero.users_collection[0].objects.unlink(hero)
    collection.objects.link(hero)
    material = bpy.data.materials.new("red")
    material.use_nodes = True
    material.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (1, 0, 0, 1)
    hero.data.materials.append(material)
    bpy.ops.object.light_add(type="SUN", rotation=(0.8, 0, 0))
    bpy.context.object.name = "Sun"
    scene.camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(scene.camera)
    scene.camera.location, scene.camera.rotation_euler = (0, -5, 1), (1.5, 0, 0)
    return hero


def _made(name: str, folder: Path) -> tuple[Path, tuple[str, ...]]:
    code, foreground = KINDS[name]
    hero, scene = _plain(), bpy.context.scene

    def add(data: bpy.types.ID) -> None:
        item = bpy.data.objects.new("new", data)
        item.location, item.rotation_euler = (-0.5, 0, 0.5), (1.57, 0, 0)
        scene.collection.objects.link(item)

    path = folder / f"{name.replace(' ', '_')}.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    hero, scene = bpy.data.objects["Hero"], bpy.context.scene
    exec(code, {"bpy": bpy, "s": scene, "hero": hero, "folder": str(folder), "add": add})
    bpy.ops.wm.save_as_mainfile(filepath=str(path), relative_remap=False)
    return path, foreground


def _adopted(path: Path, foreground: tuple[str, ...], out: Path) -> dict[str, Any]:
    out.mkdir()
    SceneSpec("art", WIDTH, HEIGHT, FRAMES, 8, WIDTH / 2, HEIGHT / 2, (), ()).save(out / "scene.json")
    adopt_blend(AdoptJob(str(path), str(out), foreground))
    contents = json.loads((out / CONTENTS).read_text())
    open_scene(out, samples=4, device="cpu", threads=1)
    scene = bpy.context.scene
    pictures = []
    for frame in (1, 2):
        scene.frame_set(frame)
        pictures.append(render_still(scene, out))
    passes = pictures[0]
    seen = passes.depth_m[np.isfinite(passes.depth_m)]
    return {
        "depth_range_m": [float(seen.min()), float(seen.max())],
        "foreground": float(passes.foreground.mean()),
        "foreground_depth_m": float(np.median(passes.depth_m[passes.foreground])),
        "middle": [picture.colour[HEIGHT // 2, WIDTH // 2].tolist() for picture in pictures],
        "eye_m": np.linalg.inv(contents["cameras"][0]["w2c"])[:3, 3].tolist(),
        "faces": contents["faces"],
        "objects": contents["objects"],
    }


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def main(out: Path) -> None:
    """Every kind."""
    folder = out / "blends"
    folder.mkdir()
    for name, colour in (("red", "red"), ("film_0001", "red"), ("film_0002", "blue"), ("film_0003", "lime")):
        Image.new("RGB", (4, 4), colour).save(folder / f"{name}.png")
    Image.new("RGB", (4, 4), "red").save(out / "outside.png")
    kept, found = _Kept(), {}
    logging.getLogger("i2v3d").addHandler(kept)
    for number, name in enumerate(KINDS):
        kept.lines.clear()
        path, foreground = _made(name, folder)
        try:
            result = _adopted(path, foreground, out / str(number))
        except I2V3DError as error:
            result = {"error": f"{type(error).__name__}: {error}"}
        found[name] = result | {"warnings": list(kept.lines)}
    (out / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)
