"""What stands behind the foreground: ground and wall, a mesh from depth maps, or one of the user's."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np

from i2v3d.config.scene import BackgroundMeshConfig, DepthConfig, PhotoSceneConfig
from i2v3d.errors import ConfigError
from i2v3d.geometry.cameras import Array, invert_pose, pixel_centres, transform, translation
from i2v3d.images import FloatMap, Mask, Rgb
from i2v3d.models.weights import check_safetensors, resolve
from i2v3d.scene.background.depth_map import (
    FARTHEST,
    FEWEST_PIXELS,
    Fit,
    Kind,
    check_depth_file,
    fill_behind,
    fit_disparity,
    fit_metric,
    load_depth,
    sharpened,
    to_metres,
)
from i2v3d.scene.background.depth_mesh import depth_mesh
from i2v3d.scene.background.ground_and_wall import ground_and_wall, surface_depth
from i2v3d.scene.background.inpaint import grown
from i2v3d.scene.background.view_set import (
    DepthView,
    check_view_set,
    other_views,
    photo_depth_file,
    view_meshes,
)
from i2v3d.scene.mesh_files import Z_UP_SUFFIXES, check_mesh, taken_off
from i2v3d.scene.motion.camera_files import read_track
from i2v3d.scene.motion.camera_path import rows
from i2v3d.scene.parts import Part, ReadGeometry
from i2v3d.scene.photo.framing import Framing
from i2v3d.scene.photo.view import PhotoView

log = logging.getLogger(__name__)

Z_UP_FROM_Y_UP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
BEHIND = 1.02  # times the depth of the foreground's base: where the background may begin behind it


def check_backdrop(cfg: PhotoSceneConfig) -> None:
    """Raises InputError for a depth map, a mesh or cameras, WeightsError for weights, that the background needs and
    that are not there or cannot be used."""
    if cfg.background.method == "mesh":
        check_mesh(_file(cfg.background.mesh), cfg.max_faces)
        _place(cfg, np.eye(4))
    if cfg.background.method == "views":
        check_view_set(cfg.background.views, (cfg.width, cfg.height))
    if cfg.background.method != "depth":
        return
    if cfg.background.depth.file is not None:
        check_depth_file(Path(cfg.background.depth.file))
        return
    check_safetensors(cfg.background.depth.weights, resolve(cfg.background.depth.weights))


def make_backdrop(
    cfg: PhotoSceneConfig,
    framing: Framing,
    mask: Mask,
    view: PhotoView,
    plate: Rgb,
    pad: tuple[int, int],
    base_m: Array,
    device: str,
    read_geometry: ReadGeometry,
) -> Part:
    """Builds the background that `cfg.background.method` asks for.

    mask: (H, W), the foreground. plate: (H + 2 pad y, W + 2 pad x, 3). base_m: (H+1, W+1) depth of the plane
    that the foreground stands in, at the pixel corners: what hides behind the foreground stays behind it.
    read_geometry: reads a user's mesh. Raises ConfigError if a padding shows no surface or a depth map does not
    fit, InputError and WeightsError for a map, a mesh or weights that cannot be used.
    """
    pad_x, pad_y = pad
    rear = cfg.background
    if rear.method == "ground_and_wall":
        return Part.made(ground_and_wall(plate, view, pad_x, pad_y, rear.wall_distance_m))
    if rear.method == "mesh":
        content, place = read_geometry(_file(rear.mesh)), _place(cfg, view.c2w)
        points = transform(place, content.vertices_m)
        return Part(_file(rear.mesh), points, len(content.faces), rows(place))
    if rear.method == "views":
        return _from_views(
            cfg, framing, mask, view, plate[pad_y : -pad_y or None, pad_x : -pad_x or None], base_m
        )
    return _from_depth(cfg, framing, mask, view, plate, pad, base_m, device)


def _from_depth(
    cfg: PhotoSceneConfig,
    framing: Framing,
    mask: Mask,
    view: PhotoView,
    plate: Rgb,
    pad: tuple[int, int],
    base_m: Array,
    device: str,
) -> Part:
    """The padded plate at the depth of the user's map, or of what a network estimates from its inner part."""
    (pad_x, pad_y), rear = pad, cfg.background
    inner = plate[pad_y : pad_y + view.height, pad_x : pad_x + view.width]
    values, kind = _values(rear.depth, framing, inner, device)
    hole = grown(mask, cfg.inpaint.dilate)
    reference = surface_depth(view, pixel_centres(view.width, view.height), rear.wall_distance_m)
    fit = _fit(values, kind, rear.depth, reference, ~hole, rear.wall_distance_m)
    log.info("depth of the background: %s, %.0f %% off ground and wall", kind, 100 * fit.error)
    depth_m = to_metres(values, kind, fit, FARTHEST * rear.wall_distance_m)
    if rear.depth.file is not None:  # which shows the foreground, while a network has seen the plate
        depth_m = fill_behind(depth_m, hole)
    radius_px = round(rear.depth.sharpen * max(view.width, view.height))
    depth_m = _behind(1.0 / sharpened(1.0 / depth_m, radius_px, rear.depth.cut), mask, base_m)
    wide = extended(depth_m, view, pad_x, pad_y, rear.wall_distance_m)
    mesh = depth_mesh(plate, view, wide, pad_x, pad_y, rear.depth.cut)
    found = {"kind": kind, "scale": fit.scale, "shift": fit.shift, "off_ground_and_wall": fit.error}
    return Part.made(mesh, metrics={f"depth_{name}": value for name, value in found.items()})


def _from_views(
    cfg: PhotoSceneConfig, framing: Framing, mask: Mask, view: PhotoView, inner: Rgb, base_m: Array
) -> Part:
    """The plate at its depth, without margins, and what other views show beside and behind it."""
    rear, views = cfg.background, cfg.background.views
    farthest_m = FARTHEST * rear.wall_distance_m
    size = (framing.photo_width, framing.photo_height)
    given = framing.frame_map(load_depth(photo_depth_file(views), *size, views.scale, "metric"))
    depth_m = fill_behind(np.minimum(given.astype(np.float64), farthest_m), grown(mask, cfg.inpaint.dilate))
    first = DepthView(inner, _behind(depth_m, mask, base_m), view.K, view.c2w)
    others = other_views(views, (view.width, view.height), view.c2w, farthest_m)
    meshes = view_meshes(first, others, rear.depth.cut)
    log.info("background of %d views, of which %d show something new", len(others) + 1, len(meshes))
    return Part.made(*meshes, metrics={"background_views": len(meshes)})


def _behind(depth_m: Array, mask: Mask, base_m: Array) -> Array:
    """Depth (H, W) that keeps behind the plane that the foreground stands in, where the foreground is."""
    base = base_m[1:, 1:]
    return np.where(mask & np.isfinite(base), np.maximum(depth_m, BEHIND * base), depth_m)


def _file(mesh: BackgroundMeshConfig) -> Path:
    if mesh.file is None:
        raise ConfigError(
            "scene.background.method is mesh but scene.background.mesh.file is null; give an OBJ, GLB, FBX or PLY"
        )
    return Path(mesh.file)


def _place(cfg: PhotoSceneConfig, photo_c2w: Array) -> Array:
    """World from mesh axes (4, 4), such that the chosen camera of the mesh's own cameras is the photo's.

    Without cameras the mesh is in the scene's axes. Cameras are in the axes of the mesh's file, of which Blender
    turns all but PLY from y up to z up. Raises InputError as `read_track`, ConfigError for a camera that is not there.
    """
    mesh = cfg.background.mesh
    scale = np.diag([mesh.scale, mesh.scale, mesh.scale, 1.0])
    if mesh.cameras is None:
        return scale
    track = read_track(Path(mesh.cameras), mesh.cameras_format, (cfg.width, cfg.height))
    if mesh.camera > track.frames:
        raise ConfigError(
            f"scene.background.mesh.camera is {mesh.camera} but {mesh.cameras} has {track.frames} cameras"
        )
    file = _file(mesh)
    upright = np.eye(4) if file.suffix.lower() in Z_UP_SUFFIXES else Z_UP_FROM_Y_UP
    moved = translation(np.array(taken_off(file, cfg.max_faces)))  # the cameras know nothing of it
    return photo_c2w @ scale @ invert_pose(upright @ track.c2w[mesh.camera - 1]) @ moved


def _values(cfg: DepthConfig, framing: Framing, inner: Rgb, device: str) -> tuple[FloatMap, Kind]:
    """The user's map at the scene's size, or what a network sees on the plate's inner part."""
    if cfg.file is not None:
        photo = load_depth(Path(cfg.file), framing.photo_width, framing.photo_height, cfg.unit_m, cfg.kind)
        return framing.frame_map(photo), cfg.kind
    from i2v3d.models.depth_estimator import estimate_depth  # torch, which other scenes need not wait for

    return estimate_depth(cfg.weights, inner, device)


def _fit(
    values: FloatMap, kind: Kind, cfg: DepthConfig, reference_m: Array, seen: Mask, wall_m: float
) -> Fit:
    """Brings a map to the scene's scale: metric depth by the ground, if it shows enough of it."""
    if kind == "disparity":
        return fit_disparity(values, reference_m, seen)
    if not cfg.fit:
        return Fit(1.0, 0.0, float(np.median(np.abs(values[seen] / reference_m[seen] - 1.0))))
    ground = seen & (reference_m < 0.98 * wall_m) & np.isfinite(values)
    return fit_metric(values, reference_m, ground if ground.sum() >= FEWEST_PIXELS else seen)


def extended(depth_m: Array, view: PhotoView, pad_x: int, pad_y: int, wall_m: float) -> Array:
    """Depth (H, W) carried on into the margins, (H + 2 pad_y, W + 2 pad_x), in metres.

    Its ratio to ground and wall at the frame's edge is kept, so that a floor goes on as a floor. Where rays meet
    neither, the edge's depth itself is kept.
    """
    height, width = depth_m.shape
    centres = pixel_centres(width + 2 * pad_x, height + 2 * pad_y) - np.array([pad_x, pad_y])
    reference = surface_depth(view, centres, wall_m)
    margins = (pad_y, pad_y, pad_x, pad_x)
    edge = cv2.copyMakeBorder(depth_m, *margins, cv2.BORDER_REPLICATE)
    inside = reference[pad_y : pad_y + height, pad_x : pad_x + width]
    at_edge = cv2.copyMakeBorder(np.ascontiguousarray(inside), *margins, cv2.BORDER_REPLICATE)
    known = np.isfinite(reference) & np.isfinite(at_edge)
    ratio = np.where(known, reference, 1.0) / np.where(known, at_edge, 1.0)
    wide = edge * ratio
    wide[pad_y : pad_y + height, pad_x : pad_x + width] = depth_m
    return wide
