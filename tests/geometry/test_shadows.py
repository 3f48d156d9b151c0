"""Shadows of points against closed forms: a ball over a floor, and a wall that hides half of the sky."""

from __future__ import annotations

import numpy as np
import pytest

from i2v3d.geometry.shadows import CELLS, LIFT, cell_m, open_sky, sky_directions, sunlit
from tests.support.ball_and_floor import CENTRE, RADIUS, SUN, camera, on_ball, seen, sunny


def floor(count: int) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(-3, 3, count), np.linspace(-3, 3, count))
    return np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3)


def test_a_ball_casts_its_shadow_on_the_floor() -> None:
    points, casters = floor(80), on_ball(16384)
    light, true = sunlit(points, casters, SUN), sunny(points)
    away = points - CENTRE
    edge = np.abs(np.linalg.norm(away - (away @ SUN)[:, None] * SUN, axis=-1) - RADIUS) < 3 * cell_m(casters)
    edge |= np.linalg.norm(points, axis=-1) < 6 * cell_m(casters)  # where it stands, nothing lies between
    assert 0.03 < (~true).mean() < 0.2
    assert np.array_equal(light[~edge], true[~edge].astype(float))
    assert ((light[edge] > 0) & (light[edge] < 1)).any(), "its edge is soft"


def test_a_ball_lies_in_its_own_shadow_behind_alone() -> None:
    casters = on_ball(16384)
    normals = (casters - CENTRE) / RADIUS
    light = sunlit(casters + LIFT * cell_m(casters) * normals, casters, SUN)
    facing = normals @ SUN
    assert light[facing > 0.5].min() == 1
    assert light[facing < -0.5].max() == 0


def test_a_wall_hides_half_of_the_sky() -> None:
    y, z = np.meshgrid(np.linspace(-8, 8, 240), np.linspace(0, 8, 120))
    wall = np.stack([np.zeros_like(y), y, z], axis=-1).reshape(-1, 3)
    up = np.array([[0.0, 0, 1]] * 3)
    at = np.array([[0.4, 0, 0], [0.8, 0, 0], [-0.8, 0, 0]])
    np.testing.assert_allclose(open_sky(at, up, wall), 0.5, atol=0.12)
    sideways = np.array([[1.0, 0, 0], [-1.0, 0, 0]])
    away, towards = open_sky(at[1:2].repeat(2, axis=0), sideways, wall)
    assert away == pytest.approx(1) and towards < 0.1


def test_the_sky_is_open_far_away_and_without_casters() -> None:
    casters = on_ball(4096)
    far = np.array([[9.0, 0, 0], [0.0, -9.0, 0]])
    up = np.array([[0.0, 0, 1]] * 2)
    assert np.array_equal(open_sky(far, up, casters), [1, 1])
    nobody = np.zeros((0, 3))
    assert np.array_equal(open_sky(far, up, nobody), [1, 1]) and np.array_equal(
        sunlit(far, nobody, SUN), [1, 1]
    )
    assert cell_m(nobody) == 0 and cell_m(casters) == pytest.approx(2 * RADIUS * 3**0.5 / CELLS, rel=0.02)


def test_points_at_infinity_lie_in_no_shadow() -> None:
    points = np.array([[np.inf, np.nan, 1.0], [-np.inf, 0, 0]])
    assert np.array_equal(sunlit(points, on_ball(4096), SUN), [1, 1])


def test_directions_are_even_and_above_the_horizon() -> None:
    around = sky_directions(500)
    np.testing.assert_allclose(np.linalg.norm(around, axis=1), 1)
    assert around[:, 2].min() > 0
    np.testing.assert_allclose(around.mean(axis=0), [0, 0, 0.5], atol=0.01)


def test_normals_of_a_ball_and_a_floor_come_from_depth() -> None:
    depth, view, true = seen(camera(30))
    cosine = (view.normals * true).sum(-1)
    known = np.linalg.norm(view.normals, axis=-1) > 0
    assert known[depth < 40].all() and not known[~np.isfinite(depth)].any()
    assert np.median(cosine[view.foreground]) > 0.995 and (cosine[view.foreground] > 0.8).mean() > 0.95
    near = ~view.foreground & (depth < 8)
    assert cosine[near].min() > 0.99, "not a step across the ball's outline"
    np.testing.assert_allclose(
        view.distance_m[near], np.linalg.norm((view.points - np.linalg.inv(camera(30))[:3, 3])[near], axis=-1)
    )
