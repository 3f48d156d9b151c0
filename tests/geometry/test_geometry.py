"""Cameras against analytic truths: planes, spheres, projected points."""

from __future__ import annotations

import numpy as np
import pytest

from i2v3d.errors import ShapeError
from i2v3d.geometry import cameras as geometry

K = geometry.intrinsics(90.0, 48.0, 32.0)
WIDTH, HEIGHT = 96, 64


@pytest.fixture
def w2c() -> np.ndarray:
    return geometry.invert_pose(geometry.look_at((1.0, -4.0, 2.0), (0.2, 0.3, 0.1)))


def test_focal_and_fov_are_inverse():
    focal = geometry.focal_from_fov(90.0, 200)
    assert focal == pytest.approx(100.0)
    assert geometry.fov_from_focal(focal, 200) == pytest.approx(90.0)


@pytest.mark.parametrize("focal", [0.0, -3.0, np.nan, np.inf])
def test_intrinsics_refuse_a_focal_length_that_is_not_positive(focal):
    with pytest.raises(ShapeError, match="positive focal length"):
        geometry.intrinsics(focal, 1.0, 1.0)


def test_look_at_puts_the_target_on_the_principal_point_and_up_upwards(w2c):
    pixel, depth = geometry.project([0.2, 0.3, 0.1], K, w2c)
    assert pixel == pytest.approx([48.0, 32.0])
    assert depth == pytest.approx(np.linalg.norm([0.8, -4.3, 1.9]))
    above, _ = geometry.project([0.2, 0.3, 0.5], K, w2c)
    assert above[1] < pixel[1] and above[0] == pytest.approx(pixel[0])


def test_look_at_along_y_is_the_level_camera():
    expected = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 2], [0, 0, 0, 1]], dtype=float)
    assert geometry.look_at((0, 0, 2), (0, 5, 2)) == pytest.approx(expected)


@pytest.mark.parametrize("target", [(0, 0, 0), (0, 0, 7)], ids=["at the eye", "straight up"])
def test_look_at_refuses_a_view_without_direction(target):
    with pytest.raises(ShapeError, match="has no direction"):
        geometry.look_at((0, 0, 0), target)


def test_pose_inverse_is_the_matrix_inverse(w2c):
    poses = np.stack([w2c, np.eye(4)])
    assert geometry.invert_pose(poses) == pytest.approx(np.linalg.inv(poses))


def test_rotation_is_right_handed_and_keeps_its_axis():
    assert geometry.rotation((0, 0, 3), 90.0) @ [1, 0, 0] == pytest.approx([0, 1, 0])
    turn = geometry.rotation((1, 2, 3), 40.0)
    assert turn @ [1, 2, 3] == pytest.approx([1, 2, 3])
    assert turn @ turn.T == pytest.approx(np.eye(3))
    assert np.linalg.det(turn) == pytest.approx(1.0)


def test_rotation_about_a_pivot_leaves_it_in_place():
    motion = geometry.rotation_about((1, 2, 3), (0, 1, 1), 33.0)
    assert geometry.transform(motion, [1, 2, 3]) == pytest.approx([1, 2, 3])


def test_project_and_unproject_are_inverse(w2c):
    pixels = geometry.pixel_centres(WIDTH, HEIGHT)
    depth = np.random.default_rng(0).uniform(1.0, 9.0, (HEIGHT, WIDTH))
    points = geometry.unproject(pixels, depth, K, w2c)
    again, again_depth = geometry.project(points, K, w2c)
    assert again == pytest.approx(pixels, abs=1e-9)
    assert again_depth == pytest.approx(depth)


def test_points_behind_the_camera_have_no_pixel():
    pixel, depth = geometry.project([[0, 0, -1.0], [0, 0, 2.0]], K, np.eye(4))
    assert np.isnan(pixel[0]).all() and depth[0] == -1.0
    assert pixel[1] == pytest.approx([48, 32])


def test_inside_a_sphere_every_ray_is_its_radius_long():
    rays = geometry.camera_rays(geometry.pixel_centres(WIDTH, HEIGHT), K)
    planar = 10.0 / np.linalg.norm(rays, axis=-1)
    assert geometry.ray_distance_from_depth(planar, K) == pytest.approx(np.full((HEIGHT, WIDTH), 10.0))
    assert geometry.depth_from_ray_distance(np.full((HEIGHT, WIDTH), 10.0), K) == pytest.approx(planar)


def test_a_frontal_plane_has_constant_depth_and_growing_distance():
    distance = geometry.ray_distance_from_depth(np.full((HEIGHT, WIDTH), 3.0), K)
    assert distance.min() == pytest.approx(3.0, abs=1e-3)
    assert distance[0, 0] == pytest.approx(3.0 * np.sqrt(1 + (47.5**2 + 31.5**2) / 90.0**2))


def test_disparity_is_zero_at_infinity_and_refuses_nonsense():
    assert geometry.disparity_from_depth([0.5, 4.0, np.inf]) == pytest.approx([2.0, 0.25, 0.0])
    for bad in (0.0, -1.0, np.nan):
        with pytest.raises(ShapeError, match="not positive"):
            geometry.disparity_from_depth([1.0, bad])


def test_flow_of_a_sideways_step_is_disparity_times_baseline():
    depth = np.full((HEIGHT, WIDTH), 3.0)
    depth[:, WIDTH // 2 :] = 6.0
    step = geometry.translation((-0.1, 0.0, 0.0))  # the camera moves right, points move left in it
    flow = geometry.reprojection_flow(depth, K, np.eye(4), K, step)
    assert flow[..., 0] == pytest.approx(-90.0 * 0.1 / depth)
    assert flow[..., 1] == pytest.approx(np.zeros_like(depth), abs=1e-12)


def test_flow_of_points_at_infinity_is_the_rotation_alone():
    turn = np.eye(4)
    turn[:3, :3] = geometry.rotation((0, 1, 0), 5.0)
    far = np.full((HEIGHT, WIDTH), np.inf)
    moved_far = geometry.reprojection_flow(far, K, np.eye(4), K, geometry.translation((0.5, 0, 0)) @ turn)
    turned = geometry.reprojection_flow(np.full_like(far, 7.0), K, np.eye(4), K, turn)
    assert moved_far == pytest.approx(turned)


def test_flow_agrees_with_projected_points_of_two_cameras(w2c):
    depth = np.random.default_rng(1).uniform(2.0, 9.0, (HEIGHT, WIDTH))
    pixels = geometry.pixel_centres(WIDTH, HEIGHT)
    next_K = geometry.intrinsics(100.0, 48.0, 32.0)
    next_w2c = geometry.invert_pose(geometry.look_at((1.3, -4.0, 2.1), (0.2, 0.3, 0.1)))
    moved, _ = geometry.project(geometry.unproject(pixels, depth, K, w2c), next_K, next_w2c)
    assert geometry.reprojection_flow(depth, K, w2c, next_K, next_w2c) == pytest.approx(moved - pixels)
    assert geometry.reprojection_flow(depth, K, w2c, K, w2c) == pytest.approx(np.zeros_like(pixels), abs=1e-9)


def test_a_depth_map_has_two_axes():
    with pytest.raises(ShapeError, match="4x4x1"):
        geometry.ray_distance_from_depth(np.ones((4, 4, 1)), K)
