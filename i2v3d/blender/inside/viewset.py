"""Multi-view renders of the foreground alone, on white."""

from __future__ import annotations

import time
from pathlib import Path

import bpy
import numpy as np
from numpy.typing import NDArray

from i2v3d.artifacts.views_folder import ViewsFolder
from i2v3d.blender.inside.camera import add_camera, place, read_camera, scaled, set_intrinsics, unit_m
from i2v3d.blender.inside.frames import camera_event, open_scene, render_still, statistics
from i2v3d.blender.inside.passes import over_white, srgb
from i2v3d.blender.inside.reporter import Reporter
from i2v3d.blender.inside.roles import foreground_meshes, hide_all_but, world_vertices
from i2v3d.blender.jobs import ViewsJob
from i2v3d.errors import RenderError
from i2v3d.geometry.cameras import look_at

Array = NDArray[np.float64]
MAX_ELEVATION_DEG = 85.0  # straight up or down, a view has no up
NEAREST_RADII = 2.0  # the camera keeps this many object radii away


def render_views(job: ViewsJob, reporter: Reporter) -> None:
    """Renders every view of a job; sends one "frame" event each, numbered from 1."""
    views = ViewsFolder(Path(job.out))
    spec, renderer = open_scene(
        Path(job.scene_dir), samples=job.samples, device=job.device, threads=job.threads
    )
    reporter.send("renderer", name=renderer)
    scene = bpy.context.scene
    scene.frame_set(spec.start_frame)
    meshes = foreground_meshes(scene)
    scale = unit_m(scene)
    vertices = scale * world_vertices(meshes)
    if not len(vertices):
        raise RenderError(f"scene {spec.name!r} has no foreground to view; give an object that role")
    _, photo_w2c = read_camera(scene)
    poses = view_poses(vertices, photo_w2c, job.azimuths_deg, job.elevations_deg)
    K = framing(vertices, poses, job.size, job.margin)
    hide_all_but(scene, meshes)
    scene.render.resolution_x = scene.render.resolution_y = job.size
    camera = add_camera(scene, "view")
    set_intrinsics(camera.data, K, job.size, job.size)
    for number, pose in enumerate(poses, start=1):
        start = time.perf_counter()
        place(camera, scaled(pose, 1 / scale))
        bpy.context.view_layer.update()
        passes = render_still(scene, Path(job.work))
        views.write(number, srgb(over_white(passes.colour)), passes.foreground)
        K, w2c = read_camera(scene)
        seconds = time.perf_counter() - start
        seen = {**camera_event(K, w2c), **statistics(passes)}
        reporter.send("frame", frame=number, seconds=seconds, **seen)


def view_poses(
    vertices: Array, photo_w2c: Array, azimuths_deg: tuple[float, ...], elevations_deg: tuple[float, ...]
) -> list[Array]:
    """World-from-camera poses (4, 4) that look at the centre of `vertices` (N, 3).

    Angles are relative to the photo camera's place seen from that centre: azimuth anticlockwise about the
    vertical from above, elevation upwards. The distance is the photo camera's, or twice the object's radius
    if that is more, so that the perspective is the photo's.
    """
    centre = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    radius = float(np.linalg.norm(vertices - centre, axis=1).max())
    offset = np.linalg.inv(photo_w2c)[:3, 3] - centre
    distance = max(float(np.linalg.norm(offset)), NEAREST_RADII * radius)
    azimuth = np.arctan2(offset[1], offset[0])
    elevation = np.arctan2(offset[2], np.hypot(offset[0], offset[1]))
    limit = np.radians(MAX_ELEVATION_DEG)
    poses = []
    for turn, rise in zip(azimuths_deg, elevations_deg, strict=True):
        a, e = azimuth + np.radians(turn), np.clip(elevation + np.radians(rise), -limit, limit)
        direction = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
        poses.append(look_at(centre + distance * direction, centre))
    return poses


def framing(vertices: Array, poses: list[Array], size: int, margin: float) -> Array:
    """K (3, 3) of a size x size view whose focal length, the same for all views, fits all of `vertices`.

    margin: fraction of the size that stays free at each side, in the view that needs most room.
    """
    slope = 0.0
    for pose in poses:
        points = (vertices - pose[:3, 3]) @ pose[:3, :3]
        slope = max(slope, float(np.abs(points[:, :2] / points[:, 2:]).max()))
    focal = size * (0.5 - margin) / max(slope, 1e-6)
    return np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
