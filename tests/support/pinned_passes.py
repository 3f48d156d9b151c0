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

WIDTH, HEIGHT = 32, 24
CHANGES = {
    "depth of field": "c.dof.use_dof, c.dof.focus_distance, c.dof.aperture_fstop = True, 0.5, 0.1",
    "keyed depth of field": "c.dof.keyframe_insert('aperture_fstop', frame=1); c.dof.use_dof = True; "
    "c.dof.aperture_fstop = 0.1; c.dof.keyframe_insert('use_dof', frame=1); "
    "c.dof.driver_add('focus_distance').driver.expression = '0.3'",
    "motion blur": "r.use_motion_blur, r.motion_blur_shutter = True, 4",
    "no motion of an object": "o.cycles.use_motion_blur = o.cycles.use_deform_motion = False",
    "opaque film": "r.film_transparent = False",
    "exposure of the film": "y.film_exposure = 3",
    "transparent glass": "y.film_transparent_glass = True",
    "wide filter": "y.pixel_filter_type, y.filter_width = 'GAUSSIAN', 6",
    "dither": "r.dither_intensity = 2",
    "volume of the world": "w = bpy.data.worlds.new('fog'); s.world = w; w.use_nodes = True; t = w.node_tree; "
    "t.nodes['Background'].inputs['Strength'].default_value = 0; n = t.nodes.new('ShaderNodeVolumeScatter'); "
    "n.inputs['Density'].default_value = 0.8; "
    "e = next(x for x in t.nodes if x.type == 'OUTPUT_WORLD'); t.links.new(n.outputs[0], e.inputs['Volume'])",
    "volume before the camera": "bpy.ops.mesh.primitive_cube_add(size=0.3, location=(0.65, -1, 0.5)); "
    "m = bpy.data.materials.new('smoke'); m.use_nodes = True; t = m.node_tree; t.nodes.clear(); "
    "e = t.nodes.new('ShaderNodeOutputMaterial'); n = t.nodes.new('ShaderNodeVolumePrincipled'); "
    "n.inputs['Density'].default_value = 50; t.links.new(n.outputs[0], e.inputs['Volume']); "
    "bpy.context.object.data.materials.append(m)",
    "simplify": "r.use_simplify = True; r.simplify_subdivision_render = 0; y.texture_limit_render = '128'",
    "camera culling": "r.use_simplify = True; y.use_camera_cull = True; o.cycles.use_camera_cull = True; "
    "y.camera_cull_margin = 0",
    "sampling pattern": "y.sampling_pattern = 'BLUE_NOISE'; y.seed = 99; y.use_animated_seed = True",
    "scrambling": "y.scrambling_distance = 0.2; y.auto_scrambling_distance = True",
    "adaptive sampling": "y.use_adaptive_sampling = True; y.samples = 1; y.time_limit = 0.01",
    "clamp": "y.sample_clamp_direct = 0.01; y.sample_clamp_indirect = 0.01",
    "no transparent bounces": "y.transparent_max_bounces = 0; y.min_transparent_bounces = 0",
    "denoising": "y.use_denoising = True; s.view_layers[0].cycles.use_denoising = True",
    "samples of a layer": "s.view_layers[0].samples = 7",
    "alpha threshold": "s.view_layers[0].pass_alpha_threshold = 0.0",
    "material of a layer": "s.view_layers[0].material_override = bpy.data.materials.new('clay')",
    "layer without faces": "s.view_layers[0].use_solid = False; s.view_layers[0].use_sky = False",
    "another layer": "s.view_layers.new('second'); s.render.use_single_layer = True",
    "layer that is off": "s.view_layers.new('second'); s.view_layers[0].use = False",
    "holdout collection": "s.view_layers[0].layer_collection.children[0].holdout = True",
    "indirect collection": "s.view_layers[0].layer_collection.children[0].indirect_only = True",
    "holdout": "o.is_holdout = True",
    "shadow catcher": "o.is_shadow_catcher = True",
    "compositing": "s.use_nodes = True; s.node_tree.nodes.clear(); r.use_compositing = True",
    "crop": "r.use_border = r.use_crop_to_border = True; r.border_max_x = 0.3",
    "percentage": "r.resolution_percentage = 50",
    "pixel aspect": "r.pixel_aspect_x, r.pixel_aspect_y = 2, 1",
    "keyed exposure": "y.film_exposure = 3; s.keyframe_insert('cycles.film_exposure', frame=1); "
    "s.driver_add('cycles.filter_width').driver.expression = '5'",
    "stereo": "r.use_multiview = True",
    "stamp": "r.use_stamp = True",
    "freestyle": "r.use_freestyle = True",
    "file of eight bits": "r.image_settings.file_format = 'JPEG'; r.image_settings.quality = 1",
    "look": "s.view_settings.view_transform = 'AgX'; s.view_settings.exposure = 2; s.view_settings.gamma = 2",
    "white balance": "s.view_settings.use_white_balance = True; s.view_settings.white_balance_temperature = 3000",
    "another engine": "r.engine = 'BLENDER_EEVEE_NEXT'",
}


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
