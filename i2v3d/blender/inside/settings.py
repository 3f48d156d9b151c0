"""Every setting of Blender that a pass depends on, in one place."""

from __future__ import annotations

import logging

import bpy

from i2v3d.artifacts.scene_spec import SceneSpec
from i2v3d.blender.inside.opacity import THRESHOLD
from i2v3d.blender.inside.passes import COLOUR_LAYER, DATA_LAYER
from i2v3d.blender.inside.scene_data import mark_layers, pin_scene_data

log = logging.getLogger(__name__)

FILTER_WIDTH_PX = 1.0  # the pixel itself: wider ones blur the photo (35 dB against 32 at 192 x 128)
TRANSPARENT_BOUNCES = 64  # leaves behind leaves; none are spent where everything is opaque
_OFF = (
    "use_border",
    "use_crop_to_border",
    "use_compositing",
    "use_sequencer",
    "use_motion_blur",  # would also switch the vector pass off
    "use_simplify",
    "use_freestyle",
    "use_multiview",
    "use_stamp",
    "use_placeholder",
    "use_persistent_data",  # saves nothing where objects move, and edits can go stale
    "use_single_layer",  # would leave one of the two layers out
    "use_render_cache",
    "use_high_quality_normals",
)
# CUDA first: Blender brings its kernels for most cards; OptiX, faster where rays are many, compiles its own on all.
GPU_BACKENDS = {"cuda": ("CUDA", "OPTIX"), "mps": ("METAL",), "xpu": ("ONEAPI",)}


def reset() -> None:
    """An empty file with factory settings, in which scripts of loaded files never run."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.preferences.filepaths.use_scripts_auto_execute = False


def configure(scene: bpy.types.Scene, spec: SceneSpec, *, samples: int, device: str, threads: int) -> str:
    """Pins all settings for rendering passes of `spec`; returns 'GPU (...)' or 'CPU', what will render.

    samples: Cycles samples a pixel of the colour layer. threads: CPU threads, 0 for all.
    """
    scene.frame_start, scene.frame_end = spec.start_frame, spec.last_frame
    _configure_frame(scene.render, spec.width, spec.height, threads)
    scene.render.fps, scene.render.fps_base = spec.fps, 1.0
    _configure_colour(scene)
    _configure_cycles(scene.cycles, samples)
    _configure_layers(scene, samples)
    pin_scene_data(scene)
    return _choose_device(scene.cycles, device)


def _configure_frame(render: bpy.types.RenderSettings, width: int, height: int, threads: int) -> None:
    """Size, output and everything between the renderer and the file that must stay out of the way."""
    render.engine = "CYCLES"
    render.resolution_x, render.resolution_y, render.resolution_percentage = width, height, 100
    render.pixel_aspect_x = render.pixel_aspect_y = 1.0
    render.film_transparent = True  # alpha 0 where nothing is seen
    render.dither_intensity = 0.0
    render.threads_mode = "FIXED" if threads else "AUTO"
    if threads:
        render.threads = threads
    for feature in _OFF:
        setattr(render, feature, False)
    render.use_overwrite = True
    render.use_file_extension = True
    images = render.image_settings
    images.file_format = "OPEN_EXR_MULTILAYER"
    images.color_mode, images.color_depth = "RGBA", "32"
    images.color_management = "FOLLOW_SCENE"
    images.exr_codec = "NONE"  # read back and deleted at once


def _configure_colour(scene: bpy.types.Scene) -> None:
    """Colour management that changes nothing: sRGB, 'Standard', no look, exposure or curve."""
    scene.display_settings.display_device = "sRGB"
    view = scene.view_settings
    view.view_transform, view.look = "Standard", "None"
    view.exposure, view.gamma, view.use_curve_mapping = 0.0, 1.0, False
    view.use_white_balance = view.use_hdr_view = False


def _configure_cycles(cycles: bpy.types.PropertyGroup, samples: int) -> None:
    """The path tracer as a plain ray caster: fixed samples, fixed seed, no bounces, no denoising."""
    cycles.samples = samples
    cycles.use_layer_samples = "USE"
    cycles.use_adaptive_sampling = False
    cycles.use_denoising = False
    cycles.time_limit = 0.0
    cycles.seed = 0
    cycles.use_animated_seed = False
    cycles.sample_offset = 0
    cycles.use_sample_subset = False
    cycles.sampling_pattern = "TABULATED_SOBOL"
    cycles.auto_scrambling_distance, cycles.scrambling_distance = False, 1.0
    cycles.sample_clamp_direct = cycles.sample_clamp_indirect = 0.0
    cycles.light_sampling_threshold = 0.01
    cycles.use_guiding = cycles.use_fast_gi = False
    cycles.blur_glossy = 0.0
    cycles.feature_set = "SUPPORTED"
    cycles.pixel_filter_type = "BLACKMAN_HARRIS"
    cycles.filter_width = FILTER_WIDTH_PX
    cycles.film_exposure = 1.0
    cycles.film_transparent_glass = False
    for bounces in ("max", "diffuse", "glossy", "transmission", "volume"):
        setattr(cycles, f"{bounces}_bounces", 0)
    cycles.use_light_tree = False  # without bounces lights are never sampled, but sorting them costs seconds
    cycles.transparent_max_bounces = cycles.min_transparent_bounces = (
        TRANSPARENT_BOUNCES  # no ray ends by chance
    )
    cycles.min_light_bounces = 0
    cycles.use_auto_tile = False
    cycles.texture_limit_render = "OFF"
    cycles.use_camera_cull = cycles.use_distance_cull = False
    cycles.debug_use_spatial_splits = False
    cycles.shading_system = False


def _configure_layers(scene: bpy.types.Scene, samples: int) -> None:
    """Two view layers: `colour`, anti-aliased, and `data`, one sample at each pixel's very centre.

    Depth and index come from the first sample anyway, but motion vectors are averaged over all samples,
    which smears them at silhouettes: one sample makes them exact.
    """
    layers = scene.view_layers
    data = layers.get(DATA_LAYER) or next((layer for layer in layers if layer.use), layers[0])
    data.name = DATA_LAYER
    colour = layers.get(COLOUR_LAYER) or layers.new(COLOUR_LAYER)
    _copy_exclusions(data.layer_collection, colour.layer_collection)
    for layer in [layer for layer in layers if layer not in (data, colour)]:
        layers.remove(layer)
    for layer, is_data in ((data, True), (colour, False)):
        layer.use = True
        layer.samples = 1 if is_data else samples
        layer.use_pass_combined = True
        layer.use_pass_z = layer.use_pass_object_index = layer.use_pass_vector = is_data
        layer.material_override = layer.world_override = None
        layer.pass_alpha_threshold = THRESHOLD
        layer.use_solid = layer.use_sky = layer.use_ao = layer.use_strand = layer.use_motion_blur = True
        layer.use_volumes = False
        layer.cycles.use_denoising = False
        _plain_collections(layer.layer_collection)
    mark_layers(layers, DATA_LAYER)


def _plain_collections(here: bpy.types.LayerCollection) -> None:
    """Renders what a view layer holds as it is, neither as a hole nor for its light alone."""
    here.holdout = here.indirect_only = False
    for child in here.children:
        _plain_collections(child)


def _copy_exclusions(source: bpy.types.LayerCollection, target: bpy.types.LayerCollection) -> None:
    """Excludes from one view layer the collections that another one excludes (an artist's choice)."""
    for child in source.children:
        twin = target.children.get(child.name)
        if twin is not None:
            twin.exclude = child.exclude
            _copy_exclusions(child, twin)


def _choose_device(cycles: bpy.types.PropertyGroup, device: str) -> str:
    """Activates a GPU for a torch device string such as 'cuda:0' where Cycles has one, else the CPU."""
    cycles.device = "CPU"
    kind, _, index = device.partition(":")
    if kind not in GPU_BACKENDS:
        return "CPU"
    preferences = bpy.context.preferences.addons["cycles"].preferences
    for backend in GPU_BACKENDS[kind]:
        try:
            preferences.compute_device_type = backend
            preferences.get_devices()
        except TypeError:
            continue  # this build of Blender lacks the backend
        found = [item for item in preferences.devices if item.type == backend]
        chosen = found[int(index) : int(index) + 1] if index else found[:1]
        for item in preferences.devices:
            item.use = item in chosen
        if chosen and preferences.has_active_device():
            cycles.device = "GPU"
            return f"GPU ({backend}, {chosen[0].name})"
    log.warning("no device for %s is active in Cycles: rendering on the CPU", device)
    return "CPU (no GPU is active in Cycles)"
