"""The photo's view, the ground and wall behind it, and the plate that they show."""

from __future__ import annotations

import numpy as np
import pytest

from i2v3d.errors import ConfigError
from i2v3d.geometry import cameras as geometry
from i2v3d.scene.background.ground_and_wall import ground_and_wall, surface_depth, wall_foot_px
from i2v3d.scene.background.inpaint import background_plate, padding_px
from i2v3d.scene.photo.framing import Framing
from i2v3d.scene.photo.view import GROUND_CLEARANCE, PhotoView, photo_view

WIDTH, HEIGHT, PAD_X, PAD_Y = 96, 64, 20, 10
LEVEL = PhotoView(WIDTH, HEIGHT, focal_px=100.0, horizon_px=32.0, camera_height_m=1.0)
STEEP = PhotoView(WIDTH, HEIGHT, focal_px=100.0, horizon_px=-90.0, camera_height_m=0.5)
VIEWS = pytest.mark.parametrize("view", [LEVEL, STEEP], ids=["level", "steep"])


def w2c(view: PhotoView) -> np.ndarray:
    return geometry.invert_pose(view.c2w)


def plate() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (HEIGHT + 2 * PAD_Y, WIDTH + 2 * PAD_X, 3), np.uint8)


def standing(bottom: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[20:bottom, 40:50] = True
    return mask


# ---------------------------------------------------------------- the view
@VIEWS
def test_the_horizon_is_where_far_ground_projects(view):
    far, _ = geometry.project([0.0, 1e9, 0.0], view.K, w2c(view))
    assert far == pytest.approx([48.0, view.horizon_px], abs=1e-4)


def test_a_level_view_has_no_pitch_and_looks_along_y():
    assert LEVEL.pitch_deg == 0.0
    assert LEVEL.c2w[:3, 2] == pytest.approx([0, 1, 0]) and LEVEL.c2w[2, 3] == 1.0
    assert STEEP.pitch_deg < -45


@pytest.mark.parametrize("horizon", [0.3, -1.5])
def test_the_lowest_pixel_stands_just_above_the_ground(horizon):
    framing = Framing.centred(600, 400, WIDTH, HEIGHT)
    view = photo_view(framing, standing(50), fov_deg=50.0, horizon=horizon, distance_m=2.0)
    ground = view.plane_depth((48.0, 50.0), np.zeros(3), (0, 0, 1))
    assert ground == pytest.approx(2.0 * GROUND_CLEARANCE)
    assert view.horizon_px == pytest.approx(horizon * HEIGHT)
    assert geometry.fov_from_focal(view.focal_px, WIDTH) == pytest.approx(50.0)


def test_cropping_the_photo_narrows_the_view_but_not_the_focal_length():
    wide = photo_view(Framing.centred(600, 400, 600, 400), np.ones((400, 600), bool), 60.0, 0.4, 2.0)
    narrow = photo_view(Framing.centred(600, 400, 400, 400), np.ones((400, 400), bool), 60.0, 0.4, 2.0)
    assert narrow.focal_px == wide.focal_px


def test_what_ends_above_the_horizon_cannot_stand():
    with pytest.raises(ConfigError, match=r"horizon is 0.9 .* ends at 0.78"):
        photo_view(Framing.centred(600, 400, WIDTH, HEIGHT), standing(50), 50.0, 0.9, 2.0)


def test_plane_depth_is_infinite_where_the_plane_is_missed():
    depth = LEVEL.plane_depth([[48.0, 31.0], [48.0, 32.0], [48.0, 42.0]], np.zeros(3), (0, 0, 1))
    assert np.isinf(depth[:2]).all() and depth[2] == pytest.approx(10.0)


# ---------------------------------------------------------------- ground and wall
def test_level_ground_has_the_textbook_depth():
    pixels = np.array([[10.0, 35.0], [70.0, 52.0], [48.0, 20.0]])
    expected = [6.0, 5.0, 6.0]  # wall, 1 m * 100 px / 20 px, wall
    assert surface_depth(LEVEL, pixels, 6.0) == pytest.approx(np.array(expected))


@VIEWS
def test_every_vertex_is_on_the_ground_or_the_wall_and_on_its_ray(view):
    mesh = ground_and_wall(plate(), view, PAD_X, PAD_Y, 3.0)
    on_ground = np.abs(mesh.vertices_m[:, 2]) < 1e-4
    on_wall = np.abs(mesh.vertices_m[:, 1] - 3.0) < 1e-4
    assert (on_ground | on_wall).all() and on_ground.any()
    assert (mesh.vertices_m[:, 2] > -1e-4).all() and (mesh.vertices_m[:, 1] < 3.0 + 1e-4).all()
    pixels, _ = geometry.project(mesh.vertices_m, view.K, w2c(view))
    size = [WIDTH + 2 * PAD_X, HEIGHT + 2 * PAD_Y]
    np.testing.assert_allclose(mesh.uv * size - [PAD_X, PAD_Y], pixels, atol=1e-3)


def test_a_row_of_vertices_runs_along_the_foot_of_the_wall():
    foot = wall_foot_px(LEVEL, 3.0)
    assert foot == pytest.approx(32 + 100 / 3)
    mesh = ground_and_wall(plate(), LEVEL, PAD_X, PAD_Y, 3.0)
    corner = (np.abs(mesh.vertices_m[:, 2]) < 1e-4) & (np.abs(mesh.vertices_m[:, 1] - 3.0) < 1e-4)
    assert corner.sum() == len(np.unique(mesh.uv[:, 0]))


def test_the_faces_cover_the_plate_and_face_the_camera():
    mesh = ground_and_wall(plate(), LEVEL, PAD_X, PAD_Y, 3.0)
    a, b, c = (mesh.uv[mesh.faces[:, i]] for i in range(3))
    areas = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
    assert np.abs(areas).sum() == pytest.approx(1.0, abs=1e-5)
    p, q, r = (mesh.vertices_m[mesh.faces[:, i]] for i in range(3))
    normals = np.cross(q - p, r - p)
    assert (np.einsum("ij,ij->i", normals, LEVEL.c2w[:3, 3] - p) > 0).all()


def test_a_view_past_the_vertical_is_refused():
    down = PhotoView(WIDTH, HEIGHT, focal_px=20.0, horizon_px=-300.0, camera_height_m=1.0)
    up = PhotoView(WIDTH, HEIGHT, focal_px=20.0, horizon_px=300.0, camera_height_m=1.0)
    assert np.isfinite(ground_and_wall(plate(), down, PAD_X, PAD_Y, 3.0).vertices_m).all()
    with pytest.raises(ConfigError, match=r"smaller scene\.background\.pad"):
        ground_and_wall(plate(), up, PAD_X, PAD_Y, 3.0)


# ---------------------------------------------------------------- the plate
def striped() -> np.ndarray:
    rgb = np.full((64, 96, 3), 90, np.uint8)
    rgb[:, ::8] = 150
    return rgb


@pytest.mark.parametrize("method", ["telea", "navier_stokes"])
def test_the_plate_keeps_the_photo_around_the_hole_and_forgets_the_object(method):
    rgb, mask = striped(), np.zeros((64, 96), bool)
    mask[20:44, 30:60] = True
    rgb[18:46, 28:62] = [255, 0, 0]  # the object, with a rim that the mask does not cover
    wide = background_plate(rgb, mask, PAD_X, PAD_Y, method, radius=0.03, dilate=0.04, padding="smooth")
    assert wide.shape == (64 + 2 * PAD_Y, 96 + 2 * PAD_X, 3)
    frame = wide[PAD_Y:-PAD_Y, PAD_X:-PAD_X]
    outside = np.ones((64, 96), bool)
    outside[16:48, 26:64] = False
    np.testing.assert_array_equal(frame[outside], rgb[outside])
    redness = wide.astype(int)[..., 0] - wide[..., 1]
    assert redness.max() < 10


def test_a_rim_that_is_not_grown_over_stays_as_a_ghost():
    rgb, mask = striped(), np.zeros((64, 96), bool)
    mask[20:44, 30:60] = True
    rgb[18:46, 28:62] = [255, 0, 0]
    ghost = background_plate(rgb, mask, 0, 0, "telea", radius=0.03, dilate=0.0, padding="smooth")
    assert (ghost[18:46, 28:62, 0].astype(int) - ghost[18:46, 28:62, 1]).max() > 200


def test_the_padding_repeats_no_object():
    rgb = np.full((64, 96, 3), 100, np.uint8)
    rgb[24:40, 76:88] = [0, 255, 0]  # close to the right edge: mirroring would show it again
    wide = background_plate(rgb, np.zeros((64, 96), bool), PAD_X, PAD_Y, "telea", 0.03, 0.0, padding="smooth")
    np.testing.assert_array_equal(wide[PAD_Y:-PAD_Y, PAD_X:-PAD_X], rgb)
    assert (wide[:, PAD_X + 96 :, 1].astype(int) - wide[:, PAD_X + 96 :, 0]).max() < 40


def test_margins_can_show_the_edge_or_a_mirror_if_asked():
    rgb = np.full((64, 96, 3), 100, np.uint8)
    rgb[24:40, 76:88] = [0, 255, 0]
    nothing = np.zeros((64, 96), bool)
    edge, mirror = (
        background_plate(rgb, nothing, PAD_X, PAD_Y, "telea", 0.03, 0.0, padding=padding)
        for padding in ("edge", "mirror")
    )
    assert (edge[:, PAD_X + 96 :] == 100).all()
    np.testing.assert_array_equal(mirror[34:50, PAD_X + 96 :], rgb[24:40, 76:][:, ::-1])
    for wide in (edge, mirror):
        np.testing.assert_array_equal(wide[PAD_Y:-PAD_Y, PAD_X:-PAD_X], rgb)


def test_a_plain_photo_has_a_plain_plate_and_no_padding_changes_nothing():
    rgb, nothing = np.full((64, 96, 3), [10, 200, 90], np.uint8), np.zeros((64, 96), bool)
    wide = background_plate(
        rgb, ~nothing & (np.arange(96) < 40), 30, 20, "telea", 0.03, 0.02, padding="smooth"
    )
    assert np.abs(wide.astype(int) - [10, 200, 90]).max() <= 3  # Telea itself is off by two levels
    np.testing.assert_array_equal(
        background_plate(striped(), nothing, 0, 0, "telea", 0.03, 0.02, padding="smooth"), striped()
    )


def test_padding_is_in_whole_pixels_of_each_axis():
    assert padding_px(1024, 576, 0.25) == (256, 144)
    assert padding_px(192, 128, 0.0) == (0, 0)
