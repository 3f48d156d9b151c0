"""The mesh of a depth map: every pixel on its ray, surfaces whole, jumps cut and not stretched."""

from __future__ import annotations

import numpy as np
import pytest

from i2v3d.geometry import cameras as geometry
from i2v3d.scene.background.depth_mesh import depth_mesh, joined
from i2v3d.scene.background.ground_and_wall import surface_depth
from i2v3d.scene.photo.view import PhotoView

HEIGHT, WIDTH, PAD_X, PAD_Y = 50, 70, 9, 6  # sizes that blocks of four do not divide
VIEW = PhotoView(WIDTH - 2 * PAD_X, HEIGHT - 2 * PAD_Y, focal_px=60.0, horizon_px=10.0, camera_height_m=1.2)
CUT = 0.08


def centres() -> np.ndarray:
    return geometry.pixel_centres(WIDTH, HEIGHT) - np.array([PAD_X, PAD_Y])


def ground() -> np.ndarray:
    return surface_depth(VIEW, centres(), 4.0)


def with_box() -> np.ndarray:
    depth = ground()
    depth[15:30, 20:41] = 1.0
    return depth


def plate() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)


def depths(mesh) -> np.ndarray:
    return geometry.project(mesh.vertices_m, VIEW.K, geometry.invert_pose(VIEW.c2w))[1]


@pytest.mark.parametrize("depth_m", [ground(), with_box()], ids=["ground", "box"])
def test_vertices_lie_on_the_rays_and_faces_cover_the_plate_once(depth_m):
    mesh = depth_mesh(plate(), VIEW, depth_m, PAD_X, PAD_Y, CUT)
    pixels, _ = geometry.project(mesh.vertices_m, VIEW.K, geometry.invert_pose(VIEW.c2w))
    np.testing.assert_allclose(mesh.uv * [WIDTH, HEIGHT] - [PAD_X, PAD_Y], pixels, atol=2e-3)
    a, b, c = (mesh.uv[mesh.faces[:, i]].astype(float) for i in range(3))
    areas = ((c - a)[:, 0] * (b - a)[:, 1] - (c - a)[:, 1] * (b - a)[:, 0]) / 2
    assert (areas > 0).all() and areas.sum() == pytest.approx(1.0, abs=1e-5)


def test_slanted_planes_and_the_foot_of_a_wall_are_not_cut():
    assert all(part.all() for part in joined(1.0 / ground()[8:], CUT))
    mesh = depth_mesh(plate(), VIEW, ground(), PAD_X, PAD_Y, CUT)
    sides = np.sort(mesh.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    _, counts = np.unique(sides, axis=0, return_counts=True)
    assert (counts == 1).sum() < 2 * (HEIGHT + WIDTH) + 8  # open at the rim of the plate only
    depth = depths(mesh)
    expected = surface_depth(VIEW, mesh.uv.astype(float) * [WIDTH, HEIGHT] - [PAD_X, PAD_Y], 4.0)
    assert np.median(np.abs(depth / expected - 1)) < 0.005


def test_no_face_reaches_from_one_surface_to_the_other():
    mesh = depth_mesh(plate(), VIEW, with_box(), PAD_X, PAD_Y, CUT)
    depth = depths(mesh)[mesh.faces]
    near = np.abs(depth - 1.0) < 1e-3
    assert (near.all(axis=1) | ~near.any(axis=1)).all()
    a, b, c = (mesh.uv[mesh.faces[near.all(axis=1)][:, i]].astype(float) * [WIDTH, HEIGHT] for i in range(3))
    area = ((c - a)[:, 0] * (b - a)[:, 1] - (c - a)[:, 1] * (b - a)[:, 0]).sum() / 2
    assert area == pytest.approx(15 * 21, rel=1e-4)  # the box keeps all of its pixels, and no others


def test_smooth_surfaces_have_few_faces():
    assert len(depth_mesh(plate(), VIEW, ground(), PAD_X, PAD_Y, CUT).faces) < HEIGHT * WIDTH


def test_pixels_of_one_surface_share_their_corners():
    mesh = depth_mesh(plate(), VIEW, with_box(), PAD_X, PAD_Y, CUT)
    rounded = np.round(np.concatenate([mesh.uv * [WIDTH, HEIGHT], depths(mesh)[:, None]], axis=1), 3)
    at_corner = np.unique(rounded, axis=0)
    _, layers = np.unique(at_corner[:, :2], axis=0, return_counts=True)
    assert layers.max() == 2 and (layers == 2).sum() == 2 * (15 + 21)
