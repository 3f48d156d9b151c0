"""Run in a process of its own: many meshes, one after another in one Blender, each seen from its front.

`python -m tests.support.mesh_pictures FOLDER` imports every mesh file of FOLDER that has a suffix of meshes, as a scene
does, and writes FOLDER/seen.json: name -> size_m, seen (fraction of the picture), left and right (linear RGBA), or
error. A file draco.glb is made first, as no other program is at hand.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from i2v3d.artifacts.scene_spec import SceneSpec
from i2v3d.blender.inside.camera import add_camera, place, set_intrinsics
from i2v3d.blender.inside.frames import render_still
from i2v3d.blender.inside.importer import import_mesh
from i2v3d.blender.inside.materials import make_coarse
from i2v3d.blender.inside.pictures import pack_files
from i2v3d.blender.inside.roles import ROLE, assign_indices, world_vertices
from i2v3d.blender.inside.settings import configure, reset
from i2v3d.errors import InputError
from i2v3d.geometry.cameras import intrinsics, look_at
from i2v3d.scene.mesh_files import SUFFIXES, copy_mesh

SIDE = 24
LEFT, RIGHT = (SIDE // 2, 7), (SIDE // 2, SIDE - 8)


def picture(path: Path, work: Path, style: str) -> dict[str, Any]:
    """What a mesh looks like."""
    copy = copy_mesh(path, work / path.name.replace(".", "_"), 10**6)
    reset()
    scene = bpy.context.scene
    spec = SceneSpec("mesh", SIDE, SIDE, 1, 8, SIDE / 2, SIDE / 2, (), ())
    configure(scene, spec, samples=4, device="cpu", threads=1)
    imported = import_mesh(copy)
    for item in imported.meshes:
        item[ROLE] = "foreground"
        make_coarse(item.data, style, layers_colour=copy.suffix != ".fbx")
    configure(scene, spec, samples=4, device="cpu", threads=1)
    pack_files()
    bpy.context.view_layer.update()
    points = world_vertices(imported.meshes)
    low, high = points.min(axis=0), points.max(axis=0)
    centre, radius = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
    camera = add_camera(scene, "camera")
    set_intrinsics(camera.data, intrinsics(1.5 * SIDE, SIDE / 2, SIDE / 2), SIDE, SIDE)
    place(camera, look_at(centre + np.array([0.0, -3.2, 0.0]) * radius, centre))
    assign_indices(scene)
    bpy.context.view_layer.update()
    passes = render_still(scene, work)
    return {
        "size_m": (high - low).tolist(),
        "centre_m": centre.tolist(),
        "seen": float(passes.visible.mean()),
        "foreground": float(passes.foreground.mean()),
        "left": passes.colour[LEFT].tolist(),
        "right": passes.colour[RIGHT].tolist(),
    }


def write_draco(path: Path) -> None:
    """A red cube, compressed by the exporter of Blender."""
    reset()
    bpy.ops.mesh.primitive_cube_add(size=1)
    material = bpy.data.materials.new("red")
    material.use_nodes = True
    material.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (1, 0, 0, 1)
    bpy.context.object.data.materials.append(material)
    bpy.ops.export_scene.gltf(filepath=str(path), export_draco_mesh_compression_enable=True)


def main(folder: Path) -> None:
    """Every mesh of the folder; a name that begins with 'lit' in the lit style."""
    write_draco(folder / "draco.glb")
    seen: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        for path in sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES):
            try:
                seen[path.name] = picture(path, Path(work), "lit" if path.stem.startswith("lit") else "flat")
            except InputError as error:
                seen[path.name] = {"error": str(error)}
    (folder / "seen.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)
