"""A mesh is put where its outline is the foreground's: known places are found again."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from i2v3d.errors import InputError
from i2v3d.geometry import cameras as geometry
from i2v3d.scene.foreground.align import align, surface_points
from i2v3d.scene.photo.view import PhotoView

WIDTH, HEIGHT = 192, 128
LEVEL = PhotoView(WIDTH, HEIGHT, focal_px=200.0, horizon_px=50.0, camera_height_m=0.5)
STEEP = PhotoView(WIDTH, HEIGHT, focal_px=200.0, horizon_px=-150.0, camera_height_m=0.8)


def solid() -> trimesh.Trimesh:
    """An L-shaped thing of another size and origin, without symmetry."""
    tall = trimesh.creation.box((0.4, 0.3, 1.2)).apply_translation((0, 0, 0.6))
    foot = trimesh.creation.box((0.9, 0.3, 0.3)).apply_translation((0.35, 0, 0.15))
    return trimesh.util.concatenate([tall, foot]).apply_scale(7.0).apply_translation((30, -20, 5))


def outline(place: np.ndarray, view: PhotoView) -> np.ndarray:
    """The mask that a mesh at a place has in a view, by filling its triangles."""
    import cv2

    mesh = solid()
    pixels, _ = geometry.project(
        geometry.transform(place, mesh.vertices), view.K, geometry.invert_pose(view.c2w)
    )
    mask = np.zeros((view.height, view.width), np.uint8)
    for face in mesh.faces:
        cv2.fillConvexPoly(mask, np.round(pixels[face] * 16).astype(np.int32), 1, shift=4)
    return mask > 0


def placed(view: PhotoView, turn_deg: tuple[float, float, float]) -> np.ndarray:
    mesh = solid()
    centre = mesh.bounds.mean(axis=0)
    place = np.eye(4)
    place[:3, :3] = 0.05 * Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix()
    place[:3, 3] = view.points((105.0, 70.0), 2.0) - place[:3, :3] @ centre
    return place


@pytest.mark.slow
@pytest.mark.parametrize("view", [LEVEL, STEEP], ids=["level", "steep"])
def test_place_and_size_are_found(view: PhotoView) -> None:
    truth = placed(view, (0, 0, 0))
    mask = outline(truth, view)
    mesh = solid()
    found = align(mesh.vertices, mesh.faces, mask, view, 2.0, (0.0, 0.0, 0.0), 0.0)
    assert found.overlap > 0.93
    moved = geometry.transform(found.place, mesh.vertices) - geometry.transform(truth, mesh.vertices)
    assert np.linalg.norm(moved, axis=1).max() < 0.04  # of a thing that is 0.42 m high


@pytest.mark.slow
def test_a_turn_is_found_within_its_bounds() -> None:
    mask = outline(placed(LEVEL, (0, 8, 0)), LEVEL)
    mesh = solid()
    fixed = align(mesh.vertices, mesh.faces, mask, LEVEL, 2.0, (0.0, 0.0, 0.0), 0.0)
    free = align(mesh.vertices, mesh.faces, mask, LEVEL, 2.0, (0.0, 0.0, 0.0), 20.0)
    assert free.overlap > 0.92 > fixed.overlap + 0.02
    turn = Rotation.from_matrix(free.place[:3, :3] / np.cbrt(np.linalg.det(free.place[:3, :3])))
    assert abs(turn.as_euler("xyz", degrees=True)[1] - 8) < 4


@pytest.mark.slow
def test_the_users_turn_is_where_the_search_starts() -> None:
    mesh = solid()
    mask = outline(placed(LEVEL, (0, 0, 180)), LEVEL)
    overlaps = [
        align(mesh.vertices, mesh.faces, mask, LEVEL, 2.0, (0.0, 0.0, yaw), 0.0).overlap
        for yaw in (180.0, 0.0)
    ]
    assert overlaps[0] > 0.93 > overlaps[1] + 0.1


@pytest.mark.slow
def test_the_same_mesh_is_placed_the_same_way_again() -> None:
    mesh, mask = solid(), outline(placed(LEVEL, (0, 0, 0)), LEVEL)
    one, two = (align(mesh.vertices, mesh.faces, mask, LEVEL, 2.0, (0.0, 0.0, 0.0), 15.0) for _ in range(2))
    np.testing.assert_array_equal(one.place, two.place)


def test_points_are_spread_by_area_and_a_point_is_refused() -> None:
    ball = trimesh.creation.icosphere(subdivisions=3)
    points = surface_points(ball.vertices, ball.faces)
    assert np.abs(points.mean(axis=0)).max() < 0.02
    assert np.linalg.norm(points, axis=1) == pytest.approx(1.0, abs=0.01)
    with pytest.raises(InputError, match="has no extent"):
        align(np.zeros((3, 3)), np.array([[0, 1, 2]]), outline(placed(LEVEL, (0, 0, 0)), LEVEL), LEVEL, 2.0,
              (0.0, 0.0, 0.0), 0.0)  # fmt: skip
