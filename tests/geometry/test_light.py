"""The photo's light, found on a render and put on others: a ball on a floor whose light is known."""

from __future__ import annotations

import numpy as np
import pytest

from i2v3d.geometry.cameras import Array, look_at, pixel_centres, unproject
from i2v3d.geometry.light import FAR, Light, fit_light, surface_normals
from i2v3d.images import Mask, Rgb

HEIGHT, WIDTH = 72, 96
K = np.array([[90.0, 0, WIDTH / 2], [0, 90.0, HEIGHT / 2], [0, 0, 1]])
SUN = np.array([0.6, 0.48, 0.64])
TERMS = np.array([[0.2, 0.3, 0.8], [0.25, 0.3, 0.7], [0.3, 0.4, 0.5]])
GAIN = np.array([0.9, 0.8, 0.7])


def camera(angle: float) -> Array:
    """World to camera from a circle around the ball, at an angle in degrees."""
    turn = np.radians(angle)
    return np.linalg.inv(look_at([4 * np.cos(turn), 4 * np.sin(turn), 2.0], [0, 0, 0.8]))


def seen(w2c: Array) -> tuple[Array, Mask, Array]:
    """Planar depth (H, W), where the ball is, and the true normals (H, W, 3)."""
    pixels = pixel_centres(WIDTH, HEIGHT)
    eye = np.linalg.inv(w2c)[:3, 3]
    rays = unproject(pixels, np.ones((HEIGHT, WIDTH)), K, w2c) - eye
    centre = np.array([0, 0, 1.0])
    along, length = ((eye - centre) * rays).sum(-1), (rays**2).sum(-1)
    under = along**2 - length * (((eye - centre) ** 2).sum() - 0.8**2)
    ball = np.where(under > 0, (-along - np.sqrt(np.maximum(under, 0))) / length, np.inf)
    floor = np.where(rays[..., 2] < -1e-6, -eye[2] / np.minimum(rays[..., 2], -1e-6), np.inf)
    depth, inside = np.minimum(ball, floor), ball < floor
    points = eye + rays * np.where(np.isfinite(depth), depth, 0)[..., None]
    normals = np.where(inside[..., None], (points - centre) / 0.8, [0.0, 0.0, 1.0])
    return depth, inside, normals


def albedo(seed: int) -> Rgb:
    coarse = np.random.default_rng(seed).uniform(90, 200, (HEIGHT // 8, WIDTH // 8, 3))
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)


def lit(rgb: Rgb, depth: Array, inside: Mask, normals: Array) -> Rgb:
    """The picture under the true light, by its own formula."""
    facing = (normals @ SUN).clip(min=0)
    shading = np.stack([np.ones_like(facing), (1 + normals[..., 2]) / 2, facing], axis=-1) @ TERMS.T
    factor = np.where(inside[..., None], shading, np.where(np.isfinite(depth)[..., None], GAIN, 1.0))
    linear = (rgb / 255.0) ** 2.2 * factor
    return np.rint(linear.clip(0, 1) ** (1 / 2.2) * 255).astype(np.uint8)


def found(photo: Rgb, rgb: Rgb, depth: Array, inside: Mask) -> Light:
    return fit_light(photo, rgb, surface_normals(depth, inside, K, camera(0)), inside, depth)


def off(a: Rgb, b: Rgb, where: Mask) -> float:
    """Root mean square, of 255."""
    return float(np.sqrt(((a.astype(float) - b)[where] ** 2).mean()))


def test_normals_of_a_ball_and_a_floor_come_from_depth() -> None:
    w2c = camera(30)
    depth, inside, true = seen(w2c)
    normals = surface_normals(depth, inside, K, w2c)
    cosine = (normals * true).sum(-1)
    known = np.linalg.norm(normals, axis=-1) > 0
    assert known[np.isfinite(depth)].all() and not known[~np.isfinite(depth)].any()
    assert np.median(cosine[inside]) > 0.995 and (cosine[inside] > 0.8).mean() > 0.95
    far_enough = ~inside & (depth < 8)
    assert cosine[far_enough].min() > 0.99, "not a step across the ball's outline"


def test_the_light_of_one_view_fits_another_one() -> None:
    depth, inside, normals = seen(camera(0))
    rgb = albedo(1)
    light = found(lit(rgb, depth, inside, normals), rgb, depth, inside)
    assert light.sun @ SUN > np.cos(np.radians(12))
    np.testing.assert_allclose(light.gain, GAIN, atol=0.02)
    turned = camera(70)
    depth, inside, normals = seen(turned)
    rgb = albedo(2)
    true = lit(rgb, depth, inside, normals)
    made = light.on(rgb, surface_normals(depth, inside, K, turned), inside, depth)
    assert off(made, true, inside) < 5 < 12 < off(rgb, true, inside)
    assert off(made, true, ~inside & (depth < light.far_m)) < 2


def test_a_cast_shadow_does_not_darken_the_floor() -> None:
    depth, inside, normals = seen(camera(0))
    rgb = albedo(1)
    photo = lit(rgb, depth, inside, normals)
    floor = ~inside & np.isfinite(depth)
    shadow = floor & (np.arange(WIDTH) < WIDTH // 3)
    assert 0.1 < shadow.sum() / floor.sum() < 0.5
    photo[shadow] //= 2
    np.testing.assert_allclose(found(photo, rgb, depth, inside).gain, GAIN, atol=0.03)


def test_the_sky_stays_as_it_is() -> None:
    depth, inside, normals = seen(camera(0))
    rgb = albedo(1)
    photo = lit(rgb, depth, inside, normals)
    far = np.where(np.isfinite(depth), depth, 900.0)
    light = found(photo, rgb, far, inside)
    assert light.far_m == pytest.approx(FAR * np.median(depth[inside]))
    made = light.on(rgb, surface_normals(far, inside, K, camera(0)), inside, far)
    assert np.array_equal(made[~np.isfinite(depth)], rgb[~np.isfinite(depth)])


def test_without_an_object_its_light_is_the_background() -> None:
    depth, inside, normals = seen(camera(0))
    nobody, rgb = np.zeros_like(inside), albedo(1)
    photo = lit(rgb, depth, nobody, normals)
    light = found(photo, rgb, depth, nobody)
    np.testing.assert_allclose(light.gain, GAIN, atol=0.02)
    flat = np.full_like(normals, 0.0)
    np.testing.assert_allclose(
        light.on(rgb, flat, inside, depth)[inside], light.on(rgb, flat, nobody, depth)[inside], atol=1
    )


def test_a_photo_that_is_the_render_changes_nothing() -> None:
    depth, inside, _ = seen(camera(0))
    rgb = albedo(1)
    light = found(rgb, rgb, depth, inside)
    made = light.on(rgb, surface_normals(depth, inside, K, camera(0)), inside, depth)
    assert np.abs(made.astype(int) - rgb).max() <= 2
