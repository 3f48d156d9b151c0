"""Blender cameras to and from pinhole cameras in pixels (OpenCV axes).

Source: Blender's sensor model. With the fit horizontal, `view` is the width in pixels, and a focal length of
`lens` millimetres on a sensor of `sensor_width` millimetres is lens / sensor_width * view pixels; `shift_x`
and `shift_y` move the frame by fractions of `view`, so the principal point moves the other way.
"""

from __future__ import annotations

from collections.abc import Iterable

import bpy
import numpy as np
from mathutils import Matrix, Quaternion
from numpy.typing import NDArray

from i2v3d.artifacts.scene_spec import SceneSpec
from i2v3d.blender.inside.keys import set_interpolation
from i2v3d.errors import RenderError

Array = NDArray[np.float64]
SENSOR_WIDTH_MM = 36.0
CLIP_M = (1e-3, 1e6)
OPENCV_FROM_BLENDER = np.diag([1.0, -1.0, -1.0, 1.0])


def add_camera(scene: bpy.types.Scene, name: str) -> bpy.types.Object:
    """Adds a perspective camera without depth of field and makes it the scene's camera."""
    data = bpy.data.cameras.new(name)
    data.type = "PERSP"
    data.sensor_fit = "HORIZONTAL"
    data.sensor_width = SENSOR_WIDTH_MM
    data.clip_start, data.clip_end = CLIP_M
    data.dof.use_dof = False
    camera = bpy.data.objects.new(name, data)
    camera.rotation_mode = "QUATERNION"  # no gimbal lock between keys
    scene.collection.objects.link(camera)
    scene.camera = camera
    return camera


def unit_m(scene: bpy.types.Scene) -> float:
    """Metres a unit of the file, by its unit scale; 1 where it has no unit system."""
    units = scene.unit_settings
    return 1.0 if units.system == "NONE" or units.scale_length == 1 else round(units.scale_length, 9)


def scaled(pose: Array, factor: float) -> Array:
    """A pose (4, 4) whose lengths are `factor` times as large, its axes as they are."""
    moved = pose.copy()
    moved[:3, 3] *= factor
    return moved


def place(camera: bpy.types.Object, world_from_camera: Array) -> None:
    """Puts a camera at a pose: (4, 4), OpenCV camera axes, in units of the file."""
    location, rotation, _ = Matrix((world_from_camera @ OPENCV_FROM_BLENDER).tolist()).decompose()
    if rotation.dot(camera.rotation_quaternion) < 0:
        rotation = Quaternion([-v for v in rotation])  # the short way round from the key before
    camera.location, camera.rotation_quaternion = location, rotation


def set_intrinsics(data: bpy.types.Camera, K: Array, width: int, height: int) -> None:
    """Sets lens and shift so that a width x height render has intrinsics K (square pixels)."""
    data.lens = K[0, 0] * SENSOR_WIDTH_MM / width
    data.shift_x = (width / 2 - K[0, 2]) / width
    data.shift_y = (K[1, 2] - height / 2) / width


def animate_camera(scene: bpy.types.Scene, spec: SceneSpec) -> bpy.types.Object:
    """Adds the camera of a scene specification with all its keys: pose and focal length."""
    camera = add_camera(scene, "camera")
    for key in spec.camera:
        place(camera, np.array(key.world_from_camera))
        K = np.array([[key.focal_px, 0, spec.cx_px], [0, key.focal_px, spec.cy_px], [0, 0, 1]])
        set_intrinsics(camera.data, K, spec.width, spec.height)
        camera.keyframe_insert("location", frame=key.frame)
        camera.keyframe_insert("rotation_quaternion", frame=key.frame)
        camera.data.keyframe_insert("lens", frame=key.frame)
    modes = {key.frame: key.interpolation for key in spec.camera}
    set_interpolation(camera, modes)
    set_interpolation(camera.data, modes)
    return camera


def read_camera(scene: bpy.types.Scene) -> tuple[Array, Array]:
    """K (3, 3) in pixels and w2c (4, 4), in metres, of the evaluated camera at the scene's current frame.

    Raises RenderError if there is no camera, it is not a perspective one, or it is not finite.
    """
    if scene.camera is None:
        raise RenderError("scene.blend has no active camera; set one in Blender (Scene properties) and save")
    camera = scene.camera.evaluated_get(bpy.context.evaluated_depsgraph_get())
    data = camera.data
    if data.type != "PERSP":
        raise RenderError(f"camera {scene.camera.name!r} is {data.type}; expected a perspective camera")
    width, height = scene.render.resolution_x, scene.render.resolution_y
    aspect_x, aspect_y = scene.render.pixel_aspect_x, scene.render.pixel_aspect_y
    span_x, span_y = width * aspect_x, height * aspect_y
    horizontal = data.sensor_fit == "HORIZONTAL" or (data.sensor_fit == "AUTO" and span_x >= span_y)
    view = span_x if horizontal else span_y
    sensor = data.sensor_height if data.sensor_fit == "VERTICAL" else data.sensor_width
    focal = data.lens / sensor * view
    centre_x = width / 2 - data.shift_x * view / aspect_x
    centre_y = height / 2 + data.shift_y * view / aspect_y
    K = np.array([[focal / aspect_x, 0, centre_x], [0, focal / aspect_y, centre_y], [0, 0, 1]])
    pose = np.array(camera.matrix_world.normalized(), dtype=np.float64)
    if not (np.isfinite(K).all() and np.isfinite(pose).all()):
        raise RenderError(f"the camera is not finite at frame {scene.frame_current}; check its keys")
    return K, scaled(OPENCV_FROM_BLENDER @ np.linalg.inv(pose), unit_m(scene))


def read_cameras(
    scene: bpy.types.Scene, frames: Iterable[int], before_first: int
) -> dict[int, tuple[Array, Array]]:
    """K and w2c of each frame of the shot, whose frame 1 comes after frame `before_first` of the timeline.

    Leaves the scene at the last of them.
    """
    cameras = {}
    for frame in frames:
        scene.frame_set(before_first + frame)
        cameras[frame] = read_camera(scene)
    return cameras
