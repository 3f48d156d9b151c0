"""The photo's light, found on a render and put on others: a ball on a floor whose light is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from i2v3d.geometry.light import FAR, Light, fit_light
from i2v3d.images import Mask, Rgb
from tests.support.ball_and_floor import AIR, FLOOR, HAZE, SUN, albedo, camera, lit, seen, sunny


def off(a: Rgb, b: Rgb, where: Mask) -> float:
    """Root mean square, of 255."""
    return float(np.sqrt(((a.astype(float) - b)[where] ** 2).mean()))


def found(brightness: float = 1.0, haze: float = 0.0) -> Light:
    _, view, normals = seen(camera(0))
    rgb = albedo(1)
    return fit_light(lit(rgb, view, normals, brightness=brightness, haze=haze), rgb, view)


@pytest.mark.parametrize(("brightness", "haze"), [(1.0, 0.0), (0.8, HAZE), (1.7, 0.0)])
def test_the_light_of_one_view_fits_another_one(brightness: float, haze: float) -> None:
    light = found(brightness, haze)
    assert light.sun @ SUN > np.cos(np.radians(5)), "its shadow says where it stands"
    _, view, normals = seen(camera(70))
    rgb = albedo(2)
    true = lit(rgb, view, normals, brightness=brightness, haze=haze)
    made = light.on(rgb, view)
    behind = ~view.foreground & np.isfinite(view.distance_m)
    assert 4 * off(made, true, view.foreground) < off(rgb, true, view.foreground)
    assert off(made, true, behind) < 9 < 15 < off(rgb, true, behind)


def test_sun_and_shade_of_the_floor_are_told_apart() -> None:
    light = found()
    shade = light.ground[:, :2].sum(axis=1)
    np.testing.assert_allclose(light.ground.sum(axis=1), FLOOR.sum(axis=1), atol=0.03)
    np.testing.assert_allclose(shade, FLOOR[:, 0], atol=0.06)
    assert light.haze == 0 and light.far_m == np.inf


def test_haze_has_its_colour_and_hides_more_with_distance() -> None:
    light = found(0.8, HAZE)
    assert 0.5 * HAZE < light.haze < 2 * HAZE
    _, view, normals = seen(camera(0))
    far = ~view.foreground & np.isfinite(view.distance_m) & (view.distance_m > 15)
    assert far.sum() > 50
    black = np.zeros_like(albedo(1))
    true = lit(black, view, normals, brightness=0.8, haze=HAZE)
    assert off(light.on(black, view), true, far) < 12
    np.testing.assert_allclose(light.air, AIR, atol=0.1)


def test_without_points_that_cast_shadows_none_are_cast() -> None:
    _, view, normals = seen(camera(0), casters=0)
    rgb = albedo(1)
    light = fit_light(lit(rgb, view, normals), rgb, view)
    made = light.on(rgb, view)
    dark = ~view.foreground & np.isfinite(view.distance_m) & ~sunny(view.points)
    sunlit = ~view.foreground & np.isfinite(view.distance_m) & sunny(view.points)
    assert dark.sum() > 50
    assert off(made, lit(rgb, view, normals), sunlit) < 6, "the shadow does not move what lights the rest"
    assert made[dark].mean() > lit(rgb, view, normals)[dark].mean() + 20


def test_the_sky_stays_as_it_is() -> None:
    depth, view, normals = seen(camera(0))
    rgb, sky = albedo(1), ~np.isfinite(depth)
    photo = lit(rgb, view, normals)
    domed = replace(view, distance_m=np.where(sky, 900.0, view.distance_m))
    light = fit_light(photo, rgb, domed)
    near = float(np.median(view.distance_m[view.foreground]))
    assert FAR * near <= light.far_m <= 900
    assert np.array_equal(light.on(rgb, domed)[sky], rgb[sky])


def test_without_an_object_its_light_is_the_background() -> None:
    _, view, normals = seen(camera(0))
    nobody = replace(view, foreground=np.zeros_like(view.foreground))
    rgb = albedo(1)
    light = fit_light(lit(rgb, nobody, normals), rgb, nobody)
    np.testing.assert_allclose(light.terms.sum(axis=1), light.ground.sum(axis=1))
    assert light.on(rgb, view).shape == rgb.shape


def test_a_photo_that_is_the_render_changes_nothing() -> None:
    _, view, _ = seen(camera(0))
    rgb = albedo(1)
    made = fit_light(rgb, rgb, view).on(rgb, view)
    assert np.abs(made.astype(int) - rgb).max() <= 3
