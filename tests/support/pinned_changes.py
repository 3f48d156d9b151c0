"""What an artist's file may set that no pass of the render shows: name -> code that sets it.

Run inside Blender by tests/support/pinned_passes.py; here only named, so that tests need not import Blender. Of the
file are s, its scene; r and y, that one's settings of rendering and of Cycles; c, its camera's; o, its box.
"""

from __future__ import annotations

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
