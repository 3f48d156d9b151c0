"""The camera that took the photo, and the ground that it stands above."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from i2v3d.errors import ConfigError
from i2v3d.geometry import cameras as geometry
from i2v3d.geometry.cameras import Array, ArrayLike
from i2v3d.images import Mask
from i2v3d.scene.photo.framing import Framing

GROUND_CLEARANCE = 1.02  # the ground lies 2 % further than the object's lowest pixel, or it would cut it


@dataclass(frozen=True)
class PhotoView:
    """The photo's camera above the ground z = 0, looking along +y, tilted so that the horizon fits.

    focal_px, horizon_px (a row, perhaps outside the frame): pixels of the width x height frame.
    camera_height_m: metres above the ground. The principal point is the frame's centre; no roll.
    """

    width: int
    height: int
    focal_px: float
    horizon_px: float
    camera_height_m: float

    @property
    def K(self) -> Array:
        """Intrinsics (3, 3)."""
        return geometry.intrinsics(self.focal_px, self.width / 2, self.height / 2)

    @property
    def pitch_deg(self) -> float:
        """How far the camera looks up (negative: down) from the horizontal, degrees."""
        return _pitch_deg(self.focal_px, self.horizon_px, self.height)

    @property
    def c2w(self) -> Array:
        """Pose (4, 4), camera to world."""
        pitch = np.radians(self.pitch_deg)
        eye = np.array([0.0, 0.0, self.camera_height_m])
        return geometry.look_at(eye, eye + np.array([0.0, np.cos(pitch), np.sin(pitch)]))

    def world_rays(self, pixels: ArrayLike) -> Array:
        """World directions (..., 3) of image coordinates (..., 2), one metre of depth long."""
        return geometry.camera_rays(pixels, self.K) @ self.c2w[:3, :3].T

    def points(self, pixels: ArrayLike, depth_m: ArrayLike) -> Array:
        """World points (..., 3) at planar depth (...) on the rays of image coordinates (..., 2)."""
        depth = np.asarray(depth_m, dtype=np.float64)[..., None]
        return self.world_rays(pixels) * depth + self.c2w[:3, 3]

    def plane_depth(self, pixels: ArrayLike, point_m: ArrayLike, normal: ArrayLike) -> Array:
        """Planar depth (...) at which rays of image coordinates (..., 2) hit a plane; inf if they miss it."""
        normal = np.asarray(normal, dtype=np.float64)
        offset = (np.asarray(point_m) - self.c2w[:3, 3]) @ normal
        slope = self.world_rays(pixels) @ normal
        hits = slope * offset > 1e-9 * abs(offset)
        return np.where(hits, offset / np.where(hits, slope, 1.0), np.inf)


def photo_view(framing: Framing, mask: Mask, fov_deg: float, horizon: float, distance_m: float) -> PhotoView:
    """The view in which the foreground's lowest pixel touches the ground at depth `distance_m`.

    fov_deg: horizontal field of view of the whole photo. horizon: fraction of the photo's height from its
    top, outside [0, 1] when the camera looks steeply. Raises ConfigError if the foreground does not reach
    below the horizon, since it could not stand on the ground then.
    """
    focal_px = framing.to_frame_px(geometry.focal_from_fov(fov_deg, framing.photo_width))
    horizon_px = framing.to_frame_y(horizon)
    bottom_px = lowest_row(mask)
    if bottom_px - horizon_px < 0.01 * framing.height:
        at = (bottom_px * framing.crop_height / framing.height + framing.top) / framing.photo_height
        raise ConfigError(
            f"scene.background.horizon is {horizon:g} of the height but the foreground ends at {at:.2f}, "
            "so it cannot stand on the ground; give a smaller horizon or another mask"
        )
    tilt = np.cos(np.radians(_pitch_deg(focal_px, horizon_px, framing.height)))
    camera_height_m = GROUND_CLEARANCE * distance_m * (bottom_px - horizon_px) / focal_px * tilt
    return PhotoView(framing.width, framing.height, focal_px, horizon_px, float(camera_height_m))


def lowest_row(mask: Mask) -> int:
    """The image row, in pixels, just below the mask's lowest pixel."""
    return int(np.flatnonzero(mask.any(axis=1))[-1]) + 1


def _pitch_deg(focal_px: float, horizon_px: float, height: int) -> float:
    return float(np.degrees(np.arctan2(horizon_px - height / 2, focal_px)))
