"""A ball on a floor, in closed form: what a camera sees of it, its true normals and shadows, and its true light."""

from __future__ import annotations

import numpy as np

from i2v3d.geometry.cameras import Array, look_at, pixel_centres, unproject
from i2v3d.geometry.surfaces import Surfaces
from i2v3d.images import Mask, Rgb

HEIGHT, WIDTH = 72, 96
K = np.array([[90.0, 0, WIDTH / 2], [0, 90.0, HEIGHT / 2], [0, 0, 1]])
CENTRE, RADIUS = np.array([0, 0, 0.8]), 0.8
SUN = np.array([0.6, 0.48, 0.64])
OBJECT = np.array(
    [[0.2, 0.3, 0.8], [0.25, 0.3, 0.7], [0.3, 0.4, 0.5]]
)  # a channel a row: all sides, above, sun
FLOOR = np.array([[0.35, 0.7], [0.3, 0.6], [0.25, 0.4]])  # a channel a row: all sides, sun
AIR, HAZE = np.array([0.5, 0.6, 0.8]), 0.06


def camera(angle: float) -> Array:
    """World to camera from a circle around the ball, at an angle in degrees."""
    turn = np.radians(angle)
    return np.linalg.inv(look_at([4 * np.cos(turn), 4 * np.sin(turn), 1.6], [0, 0, 0.8]))


def on_ball(count: int) -> Array:
    """(count, 3) points of the ball's surface, evenly."""
    number = np.arange(count) + 0.5
    height, angle = 1 - 2 * number / count, np.pi * (1 + 5**0.5) * number
    radius = np.sqrt(1 - height**2)
    return CENTRE + RADIUS * np.stack([np.cos(angle) * radius, np.sin(angle) * radius, height], axis=-1)


def seen(w2c: Array, casters: int = 16384) -> tuple[Array, Surfaces, Array]:
    """Planar depth (H, W), the surfaces that are made of it, and the true normals (H, W, 3)."""
    pixels = pixel_centres(WIDTH, HEIGHT)
    eye = np.linalg.inv(w2c)[:3, 3]
    rays = unproject(pixels, np.ones((HEIGHT, WIDTH)), K, w2c) - eye
    ball = _hit(eye, rays)
    floor = np.where(rays[..., 2] < -0.02, -eye[2] / np.minimum(rays[..., 2], -0.02), np.inf)
    depth, inside = np.minimum(ball, floor), ball < floor
    points = eye + rays * np.where(np.isfinite(depth), depth, 0)[..., None]
    normals = np.where(inside[..., None], (points - CENTRE) / RADIUS, [0.0, 0.0, 1.0])
    return depth, Surfaces.of(depth, inside, K, w2c, on_ball(casters)), normals


def sunny(points: Array) -> Mask:
    """Where the ball does not stand before the sun."""
    away = points - CENTRE
    return ~((away @ SUN < 0) & (np.linalg.norm(away - (away @ SUN)[..., None] * SUN, axis=-1) < RADIUS))


def albedo(seed: int) -> Rgb:
    """(H, W, 3): patches of any colour."""
    coarse = np.random.default_rng(seed).uniform(90, 200, (HEIGHT // 8, WIDTH // 8, 3))
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)


def lit(rgb: Rgb, view: Surfaces, normals: Array, *, brightness: float = 1.0, haze: float = 0.0) -> Rgb:
    """The picture under the true light, by its own formula; haze begins behind the ball."""
    facing, shines = (normals @ SUN).clip(min=0), sunny(view.points)
    ball = np.stack([np.ones_like(facing), (1 + normals[..., 2]) / 2, facing], axis=-1) @ OBJECT.T
    floor = FLOOR[:, 0] + shines[..., None] * FLOOR[:, 1]
    factor = np.where(view.foreground[..., None], ball, floor) * brightness
    there = np.isfinite(view.distance_m)[..., None]
    kept = np.exp(-haze * (np.where(there[..., 0], view.distance_m, 0) - 4.5).clip(min=0))[..., None]
    linear = (rgb / 255.0) ** 2.2
    linear = np.where(there, kept * linear * factor + (1 - kept) * AIR, linear)
    return np.rint(linear.clip(0, 1) ** (1 / 2.2) * 255).astype(np.uint8)


def _hit(eye: Array, rays: Array) -> Array:
    """Along rays (H, W, 3), how far the ball is; inf where it is missed."""
    along, length = ((eye - CENTRE) * rays).sum(-1), (rays**2).sum(-1)
    under = along**2 - length * (((eye - CENTRE) ** 2).sum() - RADIUS**2)
    return np.where(under > 0, (-along - np.sqrt(np.maximum(under, 0))) / length, np.inf)
