"""A scene from one photo: mask, background plate, meshes and animation, and the files that hold them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from i2v3d.artifacts.scene_folder import MESHES, SceneFolder
from i2v3d.artifacts.scene_spec import ObjectSpec, SceneSpec, Vector
from i2v3d.config.scene import PhotoSceneConfig
from i2v3d.config.weights import WeightsRef
from i2v3d.errors import ConfigError
from i2v3d.geometry.camera_track import CameraTrack
from i2v3d.images import Mask, Rgb, grid
from i2v3d.models.weights import check_safetensors, resolve
from i2v3d.scene.background.backdrop import check_backdrop, make_backdrop
from i2v3d.scene.background.inpaint import background_plate, padding_px, unknown
from i2v3d.scene.foreground.inflate import base_depth
from i2v3d.scene.foreground.object import centre_of, check_foreground, make_foreground
from i2v3d.scene.motion.animation import Shot, object_keys
from i2v3d.scene.motion.camera_files import read_track
from i2v3d.scene.motion.camera_path import Path as CameraPath
from i2v3d.scene.motion.camera_path import View, camera_path, check_camera, path_keys
from i2v3d.scene.motion.objects import check_objects, lighting, scene_objects
from i2v3d.scene.motion.track_gaps import without_gaps
from i2v3d.scene.parts import Part, ReadGeometry
from i2v3d.scene.photo.framing import Framing, Photo, load_mask, load_photo, require_some_foreground
from i2v3d.scene.photo.grabcut import grabcut, prompt_box
from i2v3d.scene.photo.mask_doubt import mask_doubt
from i2v3d.scene.photo.view import PhotoView, photo_view

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Framed:
    """The photo and its foreground mask at the scene's size, and where the mask came from."""

    framing: Framing
    rgb: Rgb
    mask: Mask
    mask_source: str


@dataclass(frozen=True)
class Meshes:
    """Both meshes in world axes, and the point that the foreground turns and the camera orbits about."""

    foreground: Part
    background: Part
    pivot_m: Vector


@dataclass(frozen=True)
class PhotoParts:
    """What is seen, before anything moves. plate: the photo without its foreground, with margins of pad_px (x, y)."""

    framed: Framed
    view: PhotoView
    meshes: Meshes
    plate: Rgb
    pad_px: tuple[int, int]


def check_photo(cfg: PhotoSceneConfig) -> None:
    """Refuses what `build_photo` could not use; raises as `i2v3d.stages.scene.check_scene`."""
    photo = load_photo(Path(cfg.photo))
    if cfg.mask is not None:
        mask = load_mask(Path(cfg.mask), photo.width, photo.height)
        require_some_foreground(mask, f"mask {cfg.mask}", "paint the foreground white on black")
    box = cfg.segment.box
    if box is not None and (box[0] >= box[2] or box[1] >= box[3]):
        raise ConfigError(
            f"scene.segment.box is {list(box)}; expected x0, y0, x1, y1 with x0 < x1 and y0 < y1, "
            "as fractions of the photo"
        )
    if cfg.mask is None and photo.alpha is None and cfg.segment.method != "grabcut":
        _check_weights(cfg.segment.weights)
        if cfg.segment.method == "words":
            _check_weights(cfg.segment.detector)
    if cfg.inpaint.method == "sdxl":
        from i2v3d.models.inpainter import check_inpainter  # torch, which other scenes need not wait for

        check_inpainter(cfg.inpaint.model)
    check_foreground(cfg)
    check_backdrop(cfg)
    check_camera(cfg.camera, shot_of(cfg))
    camera_track(cfg)
    check_objects(cfg, shot_of(cfg))
    lighting(cfg.lighting)


def shot_of(cfg: PhotoSceneConfig) -> Shot:
    """The part of the timeline that is shown."""
    return Shot(cfg.start_frame, cfg.frames, cfg.fps)


def camera_track(cfg: PhotoSceneConfig) -> CameraTrack | None:
    """The cameras of another program that the scene names, one a frame, if any. Raises InputError as `read_track`."""
    track = cfg.camera.track
    if track is None:
        return None
    found = read_track(Path(track.file), track.format, (cfg.width, cfg.height), path_only=True)
    return without_gaps(found, f"camera file {track.file}")


def _check_weights(ref: WeightsRef) -> None:
    """Raises WeightsError, with what fetches them, if weights that the scene asks for are not there."""
    check_safetensors(ref, resolve(ref))


def build_photo(
    cfg: PhotoSceneConfig, out: Path, work: Path, device: str, read_geometry: ReadGeometry
) -> dict[str, Any]:
    """Everything of a photo's scene but scene.blend; returns its metrics.

    work: a folder for other programs. device: for networks. read_geometry: reads a user's mesh file.
    """
    parts = photo_parts(cfg, out, work, device, read_geometry)
    pad_x, pad_y = parts.pad_px
    inner = parts.plate[pad_y : pad_y + cfg.height, pad_x : pad_x + cfg.width]
    write_pictures(out, parts.framed.rgb, parts.framed.mask, parts.plate, inner)
    spec = scene_spec(cfg, parts.view, parts.meshes, parts.pad_px, out)
    SceneFolder(out).write_spec(spec)
    return _metrics(parts.framed, parts.view, parts.meshes)


def photo_parts(
    cfg: PhotoSceneConfig, out: Path, work: Path, device: str, read_geometry: ReadGeometry
) -> PhotoParts:
    """What a photo's scene is made of, whatever moves in it; arguments as of `build_photo`."""
    framed = frame_photo(cfg, device)
    view = photo_view(
        framed.framing, framed.mask, cfg.camera.fov_deg, cfg.background.horizon, cfg.foreground.distance_m
    )
    pad_px = padding_px(cfg.width, cfg.height, cfg.background.pad)
    plate = _plate(cfg, framed, *pad_px, device)
    (out / MESHES).mkdir()
    base = base_depth(view, framed.mask, cfg.foreground.distance_m, cfg.foreground.stance)
    column, row = centre_of(framed.mask)
    centre_m = float(base[round(row), round(column)])
    x, y, z = view.points((column, row), centre_m).tolist()
    foreground = make_foreground(cfg, framed.rgb, framed.mask, view, base, centre_m, read_geometry, work, out)
    _check_wall(cfg, foreground)
    background = make_backdrop(
        cfg, framed.framing, framed.mask, view, plate, pad_px, base, device, read_geometry
    )
    return PhotoParts(framed, view, Meshes(foreground, background, (x, y, z)), plate, pad_px)


def _plate(cfg: PhotoSceneConfig, framed: Framed, pad_x: int, pad_y: int, device: str) -> Rgb:
    """The photo without its foreground and with margins, (H + 2 pad_y, W + 2 pad_x, 3)."""
    fill, padding = cfg.inpaint, cfg.background.padding
    log.info("inpainting the background with %s", fill.method)
    method = "telea" if fill.method == "sdxl" else fill.method
    plate = background_plate(framed.rgb, framed.mask, pad_x, pad_y, method, fill.radius, fill.dilate, padding)
    if fill.method != "sdxl":
        return plate
    from i2v3d.models.inpainter import paint_holes  # torch, which other scenes need not wait for

    hole = unknown(framed.mask, pad_x, pad_y, fill.dilate, padding)
    return paint_holes(fill.model, plate, hole, device)


def _check_wall(cfg: PhotoSceneConfig, foreground: Part) -> None:
    """Raises ConfigError if the wall would stand in front of a part of the foreground."""
    rear, reach_m = cfg.background, float(foreground.points_m[:, 1].max())
    if rear.method == "ground_and_wall" and reach_m >= rear.wall_distance_m:
        raise ConfigError(
            f"scene.background.wall_distance_m is {rear.wall_distance_m:g} but the foreground reaches "
            f"{reach_m:.2f} m from the camera; put the wall behind it"
        )


def write_pictures(out: Path, photo: Rgb, mask: Mask, plate: Rgb, inner: Rgb) -> None:
    """photo.png, mask.png, plate.png, and sheet.png with the plate's inner part."""
    SceneFolder(out).write_pictures(photo, mask, plate, _sheet(photo, mask, inner))


def frame_photo(cfg: PhotoSceneConfig, device: str) -> Framed:
    """Reads the photo, finds its foreground and brings both to the scene's size.

    The mask is the user's, else the photo's own transparency, else what `segment` finds. Raises InputError if nothing
    or everything of the frame is foreground.
    """
    photo = load_photo(Path(cfg.photo))
    mask, source = _find_mask(cfg, photo, device)
    framing = Framing.centred(photo.width, photo.height, cfg.width, cfg.height)
    framed = Framed(framing, framing.frame_rgb(photo.rgb), framing.frame_mask(mask), source)
    remedies = {
        "file": "move the foreground into the centred crop of the scene's aspect",
        "alpha": "give a mask or another photo",
        "grabcut": "give scene.segment.box around the object, scene.segment.points on it, or a mask",
        "sam2": "give scene.segment.box around the object, scene.segment.points on it, or a mask",
        "words": "give other scene.segment.words, scene.segment.box around the object, or a mask",
    }
    what = f"the foreground ({source}) of {cfg.photo} at {cfg.width}x{cfg.height}"
    require_some_foreground(framed.mask, what, remedies[source])
    if (doubt := mask_doubt(source, framed.mask, framed.rgb)) is not None:
        log.warning("the foreground of %s %s; %s", cfg.photo, doubt, remedies[source])
    if cfg.width > 2 * framing.crop_width:
        log.warning("photo %s is enlarged from %d to %d pixels", cfg.photo, framing.crop_width, cfg.width)
    return framed


def scene_spec(
    cfg: PhotoSceneConfig, view: PhotoView, meshes: Meshes, pad_px: tuple[int, int], out: Path
) -> SceneSpec:
    """The scene as plain data; meshes of files are copied into out/meshes/.

    Raises ConfigError as `camera_path` and `scene_objects`.
    """
    shot, own = shot_of(cfg), own_objects(meshes, out, cfg.max_faces)
    path, objects = animation(cfg, view, meshes.pivot_m, own, out)
    return SceneSpec(
        name=cfg.name,
        width=cfg.width,
        height=cfg.height,
        frames=cfg.frames,
        fps=cfg.fps,
        cx_px=path.cx_px,
        cy_px=path.cy_px,
        camera=path_keys(path, shot),
        objects=objects,
        start_frame=cfg.start_frame,
        lighting=lighting(cfg.lighting),
        notes={
            "class_name": cfg.class_name,
            "plate_padding_px": list(pad_px),
            "horizon_px": view.horizon_px,
            "wall_distance_m": cfg.background.wall_distance_m,
            "photo_view": {"world_from_camera": view.c2w.tolist(), "focal_px": view.focal_px},
        },
    )


def own_objects(meshes: Meshes, out: Path, max_faces: int) -> dict[str, ObjectSpec]:
    """The photo's own two objects, at rest; their meshes are written into out/meshes/."""
    front, rear = meshes.foreground, meshes.background
    mesh, behind = (
        part.write(out, name, max_faces) for part, name in ((front, "foreground"), (rear, "background"))
    )
    return {
        "foreground": ObjectSpec("foreground", "foreground", mesh, meshes.pivot_m, (), front.place),
        "background": ObjectSpec("background", "background", behind, (0.0, 0.0, 0.0), (), rear.place),
    }


def animation(
    cfg: PhotoSceneConfig, view: PhotoView, pivot_m: Vector, own: Mapping[str, ObjectSpec], out: Path
) -> tuple[CameraPath, tuple[ObjectSpec, ...]]:
    """The camera of every frame, and all objects with what moves them; meshes of files are copied into out/meshes/.

    own: the photo's own objects at rest. pivot_m: what moves are about. Raises ConfigError as `camera_path` and
    `scene_objects`.
    """
    shot, photo = shot_of(cfg), View(view.c2w, view.focal_px)
    path = camera_path(cfg.camera, shot, photo, (cfg.width, cfg.height), pivot_m, camera_track(cfg))
    keys, turns_about = object_keys(cfg.keys, shot), cfg.pivot_m or pivot_m
    moved = {**own, "foreground": replace(own["foreground"], keys=keys, pivot_m=turns_about)}
    return path, scene_objects(cfg, shot, moved, out)


def _find_mask(cfg: PhotoSceneConfig, photo: Photo, device: str) -> tuple[Mask, str]:
    if cfg.mask is not None:
        return load_mask(Path(cfg.mask), photo.width, photo.height), "file"
    if photo.alpha is not None:
        return photo.alpha, "alpha"
    how = cfg.segment
    log.info("segmenting the foreground with %s", how.method)
    if how.method == "grabcut":
        return grabcut(photo.rgb, how.box, how.iterations, how.points, how.background_points), how.method
    from i2v3d.models.segmenter import sam2_mask  # torch, which other scenes need not wait for

    box = how.box
    if how.method == "words" and box is None:
        from i2v3d.models.detector import text_box

        box = text_box(how.detector, photo.rgb, how.words or cfg.class_name, device)
    elif box is None and not how.points:
        box = prompt_box(photo.rgb, None, ())
    return sam2_mask(how.weights, photo.rgb, box, how.points, how.background_points, device), how.method


def _sheet(photo: Rgb, mask: Mask, plate: Rgb) -> Rgb:
    """The photo, the foreground alone over grey, and the background plate, side by side."""
    alone = np.where(mask[..., None], photo, np.uint8(128))
    return grid([[photo, alone, plate]])


def mask_metrics(source: str, mask: Mask) -> dict[str, Any]:
    """Where a mask came from, how much of the frame it covers and at which sides the frame cuts it."""
    sides = {"left": mask[:, 0], "right": mask[:, -1], "top": mask[0], "bottom": mask[-1]}
    return {
        "mask_source": source,
        "mask_coverage": float(mask.mean()),
        "cut_by_frame": [side for side, pixels in sides.items() if pixels.any()],
    }


def _metrics(framed: Framed, view: PhotoView, meshes: Meshes) -> dict[str, Any]:
    inverse = np.linalg.inv(view.c2w)
    depth = meshes.foreground.points_m @ inverse[2, :3] + inverse[2, 3]
    return {
        **mask_metrics(framed.mask_source, framed.mask),
        "mask_doubt": mask_doubt(framed.mask_source, framed.mask, framed.rgb),
        "focal_px": view.focal_px,
        "pitch_deg": view.pitch_deg,
        "camera_height_m": view.camera_height_m,
        "foreground_depth_m": [float(depth.min()), float(depth.max())],
        "foreground_faces": meshes.foreground.faces,
        "background_faces": meshes.background.faces,
        **meshes.foreground.metrics,
        **meshes.background.metrics,
    }
