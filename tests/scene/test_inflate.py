"""The inflated foreground: its profile, where its vertices project, and what it shows."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from i2v3d.errors import ConfigError
from i2v3d.geometry import cameras as geometry
from i2v3d.geometry.meshes import write_glb
from i2v3d.scene.foreground.inflate import back_texture, base_depth, inflate, inflated_height
from i2v3d.scene.photo.view import PhotoView

WIDTH, HEIGHT = 96, 64
VIEW = PhotoView(WIDTH, HEIGHT, focal_px=110.0, horizon_px=10.0, camera_height_m=0.6)
STANCES = ["facing", "upright", "lying"]


def disc(radius: float = 20.0, centre: tuple[float, float] = (48.0, 32.0)) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2


def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)


def inflated(stance: str = "facing", thickness: float = 0.7, back: str = "mirror", mask=None):
    mask = disc() if mask is None else mask
    base = base_depth(VIEW, mask, 1.5, stance)
    return inflate(photo(), mask, VIEW, base, thickness, back)


def test_a_disc_becomes_a_half_ball():
    radius = 60.0
    y, x = np.mgrid[:161, :161].astype(float)
    centres = np.mgrid[:160, :160] + 0.5 - 80
    height = inflated_height((centres**2).sum(axis=0) < radius**2)
    ball = np.sqrt(np.maximum(radius**2 - (x - 80) ** 2 - (y - 80) ** 2, 0))
    inner = np.hypot(x - 80, y - 80) < 0.8 * radius
    np.testing.assert_allclose(height[inner], ball[inner], rtol=0.02)  # the rim is a staircase of pixels
    assert height.max() == pytest.approx(radius, rel=0.01)


def test_a_strip_is_the_parabola_s_root_across():
    mask = np.zeros((400, 40), bool)
    mask[:, 10:30] = True
    across = inflated_height(mask)[200]
    x = np.arange(41.0)
    expected = np.sqrt(2 * np.maximum((x - 10) * (30 - x), 0))
    np.testing.assert_allclose(across, expected, atol=1e-6)


def test_height_is_zero_on_the_silhouette_and_outside():
    mask = disc()
    height = inflated_height(mask)
    padded = np.pad(mask, 1)
    full = padded[:-1, :-1] & padded[:-1, 1:] & padded[1:, :-1] & padded[1:, 1:]
    assert (height[~full] == 0).all() and (height[full] > 0).all()


def test_a_mask_that_the_frame_cuts_closes_there():
    height = inflated_height(np.ones((20, 30), bool))
    assert (height[[0, -1]] == 0).all() and (height[:, [0, -1]] == 0).all() and height[10, 15] > 5


@pytest.mark.parametrize("stance", STANCES)
def test_vertices_project_onto_pixel_corners_front_and_back(stance):
    mesh = inflated(stance)
    pixels, _ = geometry.project(mesh.vertices_m, VIEW.K, geometry.invert_pose(VIEW.c2w))
    np.testing.assert_allclose(pixels, np.round(pixels), atol=1e-3)
    front, back = np.split(pixels, 2)
    np.testing.assert_allclose(front, back, atol=1e-3)
    np.testing.assert_allclose(mesh.uv[: len(front)] * [2 * WIDTH, HEIGHT], front, atol=1e-3)
    np.testing.assert_allclose(mesh.uv[len(front) :] * [2 * WIDTH, HEIGHT] - [WIDTH, 0], front, atol=1e-3)


@pytest.mark.parametrize("stance", STANCES)
def test_front_and_back_share_the_silhouette_and_enclose_a_volume(stance):
    mesh = inflated(stance)
    assert trimesh.Trimesh(mesh.vertices_m, mesh.faces, process=False).volume > 0  # faces turn outwards
    front, back = np.split(mesh.vertices_m, 2)
    shared = (front == back).all(axis=1)
    corners = np.round(mesh.uv[: len(front)] * [2 * WIDTH, HEIGHT]).astype(int)
    np.testing.assert_array_equal(shared, inflated_height(disc())[corners[:, 1], corners[:, 0]] == 0)
    joined = mesh.faces % len(front) + len(front) * (
        (mesh.faces >= len(front)) & ~np.tile(shared, 2)[mesh.faces]
    )
    sides = np.sort(joined[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edges, counts = np.unique(sides, axis=0, return_counts=True)
    assert np.tile(shared, 2)[
        edges[counts == 1]
    ].all()  # open at most where the silhouette's rim is a flat sheet


@pytest.mark.parametrize("radius", [20.0, 31.0])
def test_the_faces_cover_every_mask_pixel_once_and_merge_inside(radius):
    mask = disc(radius)
    mesh = inflated(mask=mask)
    front = mesh.faces[(mesh.faces < len(mesh.vertices_m) // 2).all(axis=1)]
    a, b, c = (mesh.uv[front[:, i]].astype(float) * [2 * WIDTH, HEIGHT] for i in range(3))
    areas = ((c - a)[:, 0] * (b - a)[:, 1] - (c - a)[:, 1] * (b - a)[:, 0]) / 2
    assert (areas > 0).all() and areas.sum() == pytest.approx(mask.sum(), rel=1e-6)
    assert len(front) < (1.9 if radius < 30 else 1.5) * mask.sum()


def test_the_facing_base_has_one_depth_and_the_bulge_is_symmetric():
    mesh = inflated("facing", thickness=0.5)
    _, depth = geometry.project(mesh.vertices_m, VIEW.K, geometry.invert_pose(VIEW.c2w))
    front, back = np.split(depth, 2)
    np.testing.assert_allclose(front + back, 3.0, atol=1e-5)
    assert (back - front).max() / 2 == pytest.approx(20 / 110 * 1.5 * 0.5, rel=0.04)


def test_upright_and_lying_bases_are_such_planes():
    mask = disc()
    x, y = np.meshgrid(np.arange(WIDTH + 1.0), np.arange(HEIGHT + 1.0))
    corners = np.stack([x, y], axis=-1)
    upright = VIEW.points(corners, base_depth(VIEW, mask, 1.5, "upright"))
    assert np.ptp(upright[..., 1]) < 1e-9
    lying_depth = base_depth(VIEW, mask, 1.5, "lying")
    below = y > VIEW.horizon_px + 0.5
    assert np.isinf(lying_depth[y <= VIEW.horizon_px]).all()
    lying = VIEW.points(corners[below], lying_depth[below])
    assert np.ptp(lying[..., 2]) < 1e-9
    for base in (upright, VIEW.points(corners, np.where(below, lying_depth, 1.0))):
        _, depth = geometry.project(base[52, 48], VIEW.K, geometry.invert_pose(VIEW.c2w))
        assert depth == pytest.approx(1.5)  # row 52 is the disc's foot


def test_nothing_lies_on_the_ground_above_the_horizon():
    with pytest.raises(ConfigError, match="use 'upright' or 'facing'"):
        inflated("lying", mask=disc(28))


def test_a_bulge_into_the_camera_is_refused_with_the_largest_thickness():
    with pytest.raises(ConfigError, match=r"thickness is 9.*use less than 5"):
        inflated("facing", thickness=9.0)


def test_single_pixels_are_flat_sheets_without_a_coinciding_back():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[40, 40] = True
    assert len(inflated("facing", mask=mask).faces) == 2


def test_the_front_texture_is_the_photo_inside_and_the_nearest_colour_outside():
    mask = disc()
    mesh = inflated()
    front, back = mesh.texture[:, :WIDTH], mesh.texture[:, WIDTH:]
    np.testing.assert_array_equal(front[mask], photo()[mask])
    np.testing.assert_array_equal(front[32, 0], photo()[32, 28])  # the disc's leftmost pixel of that row
    np.testing.assert_array_equal(back, front)


@pytest.mark.parametrize("back", ["blurred", "neutral"])
def test_other_backs_start_from_the_silhouette_and_lose_the_picture(back):
    mask = disc()
    texture = back_texture(photo(), mask, back)
    near_rim = mask & ~disc(19.0)
    centre = disc(6.0)
    difference = np.abs(texture.astype(int) - photo()).mean(axis=-1)
    assert difference[near_rim].mean() < 0.6 * difference[centre].mean()
    assert texture[centre].std(axis=0).max() < (0.1 if back == "neutral" else 0.4 * photo()[centre].std())


def test_a_glb_keeps_positions_texture_coordinates_and_colours(tmp_path):
    mesh = inflated("lying")
    write_glb(tmp_path / "thing.glb", mesh)
    loaded = trimesh.load(tmp_path / "thing.glb", process=False)
    (surface,) = loaded.geometry.values()
    x, y, z = surface.vertices.T
    np.testing.assert_array_equal(np.stack([x, -z, y], axis=-1).astype(np.float32), mesh.vertices_m)
    np.testing.assert_array_equal(surface.faces, mesh.faces)
    np.testing.assert_allclose(surface.visual.uv, np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], -1), atol=1e-6)
    np.testing.assert_array_equal(np.asarray(surface.visual.material.baseColorTexture), mesh.texture)
