"""A background seen from several places: pictures with depth and their cameras become one set of meshes.

Source: the widened background of I2V3D (section 1 of its method), whose views come from a video model and whose depth
from a multi-view reconstruction; here both are files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from i2v3d.config.scene import ViewsBackgroundConfig
from i2v3d.errors import ConfigError, InputError
from i2v3d.geometry import cameras as geometry
from i2v3d.geometry.camera_track import CameraTrack
from i2v3d.geometry.cameras import Array, ArrayLike
from i2v3d.geometry.meshes import TexturedMesh
from i2v3d.images import Mask, Rgb
from i2v3d.scene.background.depth_map import SUFFIXES, check_depth_file, load_depth
from i2v3d.scene.background.depth_mesh import depth_mesh
from i2v3d.scene.motion.camera_files import read_track
from i2v3d.scene.photo.framing import PHOTO_SUFFIXES, load_photo, photo_size

SEEN_TOLERANCE = 0.03  # a point this fraction behind what a view shows still is what that view shows


@dataclass(frozen=True)
class DepthView:
    """A picture (H, W, 3) with planar depth (H, W) in metres, its intrinsics (3, 3) and pose (4, 4) in the world."""

    rgb: Rgb
    depth_m: Array
    K: Array
    c2w: Array

    def points(self, pixels: ArrayLike, depth_m: ArrayLike) -> Array:
        """World points (..., 3) at planar depth (...) on the rays of image coordinates (..., 2)."""
        return geometry.unproject(pixels, depth_m, self.K, geometry.invert_pose(self.c2w))

    def world(self) -> Array:
        """World points (H, W, 3) of all pixels' centres."""
        height, width = self.depth_m.shape
        return self.points(geometry.pixel_centres(width, height), self.depth_m)

    def shows(self, points_m: Array) -> Mask:
        """Which world points (..., 3) it shows: inside its frame, and not behind what it sees there."""
        height, width = self.depth_m.shape
        pixels, depth = geometry.project(points_m, self.K, geometry.invert_pose(self.c2w))
        column, row = (np.floor(np.nan_to_num(pixels[..., i], nan=-1.0)) for i in (0, 1))
        inside = (depth > 0) & (column >= 0) & (row >= 0) & (column < width) & (row < height)
        at = np.where(inside, row, 0).astype(int), np.where(inside, column, 0).astype(int)
        return inside & (depth <= (1.0 + SEEN_TOLERANCE) * self.depth_m[at])


def check_view_set(cfg: ViewsBackgroundConfig, size: tuple[int, int]) -> None:
    """Raises InputError or ConfigError unless every camera has a picture and a depth map, and the photo's is one."""
    track = _cameras(cfg, size)
    for number in range(1, track.frames + 1):
        check_depth_file(_depth_file(cfg, number))
        if number != cfg.camera:  # the photo itself is that one's picture
            photo_size(_picture(cfg, number))


def other_views(
    cfg: ViewsBackgroundConfig, size: tuple[int, int], photo_c2w: Array, farthest_m: float
) -> list[DepthView]:
    """All views but the photo's own, placed in the world so that the photo's camera of the file is `photo_c2w`.

    size: pixels (W, H) of the scene, whose intrinsics the look-at format means. Raises as `check_view_set`.
    """
    track = _cameras(cfg, size)
    scale = np.diag([cfg.scale, cfg.scale, cfg.scale, 1.0])
    to_world = photo_c2w @ scale @ geometry.invert_pose(track.c2w[cfg.camera - 1])
    found = []
    for number in range(1, track.frames + 1):
        if number == cfg.camera:
            continue
        rgb = load_photo(_picture(cfg, number)).rgb
        height, width = rgb.shape[:2]
        depth_m = load_depth(_depth_file(cfg, number), width, height, cfg.scale, "metric").astype(np.float64)
        pose = to_world @ track.c2w[number - 1]
        pose[:3, :3] /= cfg.scale  # the world is larger, the camera's axes are not
        K = track.resized(width, height).K[number - 1]
        found.append(DepthView(rgb, np.minimum(depth_m, farthest_m), K, pose))
    return found


def photo_depth_file(cfg: ViewsBackgroundConfig) -> Path:
    """The depth map of the photo's own view."""
    return _depth_file(cfg, cfg.camera)


def view_meshes(first: DepthView, others: list[DepthView], cut: float) -> list[TexturedMesh]:
    """Meshes of several views: the first view's whole, of each further one what no view before it shows.

    So the first view stays as it is, and the others fill what its cuts and its frame's edge would leave open.
    """
    meshes = [depth_mesh(first.rgb, first, first.depth_m, 0, 0, cut)]
    before = [first]
    for view in others:
        points = view.world()
        keep = ~np.any([earlier.shows(points) for earlier in before], axis=0)
        if keep.any():
            # One pixel more, a little behind what it overlaps, so that no seam opens between two views.
            wider = cv2.dilate(keep.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
            depth_m = np.where(keep, view.depth_m, (1.0 + SEEN_TOLERANCE) * view.depth_m)
            meshes.append(depth_mesh(view.rgb, view, depth_m, 0, 0, cut, wider))
        before.append(view)
    return meshes


def _cameras(cfg: ViewsBackgroundConfig, size: tuple[int, int]) -> CameraTrack:
    if cfg.folder is None or cfg.cameras is None:
        raise ConfigError(
            "scene.background.method is views but scene.background.views lacks folder or cameras; give both"
        )
    track = read_track(Path(cfg.cameras), cfg.cameras_format, size)
    if cfg.camera > track.frames:
        raise ConfigError(
            f"scene.background.views.camera is {cfg.camera} but {cfg.cameras} has {track.frames} cameras"
        )
    return track


def _picture(cfg: ViewsBackgroundConfig, number: int) -> Path:
    return _existing(cfg, number, f"{number:04d}", PHOTO_SUFFIXES, "picture")


def _depth_file(cfg: ViewsBackgroundConfig, number: int) -> Path:
    return _existing(cfg, number, f"{number:04d}_depth", SUFFIXES, "depth map")


def _existing(
    cfg: ViewsBackgroundConfig, number: int, stem: str, suffixes: tuple[str, ...], what: str
) -> Path:
    """The file of one camera, counted from 1. Raises InputError if there is none."""
    folder = Path(str(cfg.folder))
    path = next((p for p in (folder / f"{stem}{suffix}" for suffix in suffixes) if p.is_file()), None)
    if path is None:
        raise InputError(
            f"scene.background.views.folder {folder} has no {what} of camera {number}; expected {stem} with "
            f"{' or '.join(suffixes)}"
        )
    return path
