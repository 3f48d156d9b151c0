"""Rendered passes against scenes whose depth, masks, flow, colours and cameras are known."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.artifacts.scene_spec import ObjectSpec, SceneSpec, TransformKey
from i2v3d.blender import api
from i2v3d.config.render import RenderConfig, ViewsConfig
from i2v3d.geometry import cameras as geometry
from i2v3d.images import read_depth, read_flow, read_mask, read_rgb, write_mask, write_rgb
from i2v3d.progress import ignore_step
from i2v3d.stages.context import StageContext
from i2v3d.stages.render import render_passes
from i2v3d.stages.views import render_views
from tests.support.blender_scenes import (
    HEIGHT,
    LOOK_ALONG_Y,
    WIDTH,
    Array,
    box,
    camera_key,
    picture_plane,
    sphere,
    still_scene,
    write_glb,
)
from tests.support.warm.plugin import python

pytestmark = pytest.mark.slow

FRAMES = 5
SPHERE_RADIUS_M = 10.0
PIVOT_M = (0.3, 4.0, -0.2)
PICTURE_DEPTH_M, PICTURE_FOCAL_PX = 3.0, 60.0


@dataclass(frozen=True)
class Rendered:
    """A scene and its finished passes."""

    folder: Path
    out: Path
    spec: SceneSpec

    @property
    def cameras(self) -> dict[str, Any]:
        return json.loads((self.out / "cameras.json").read_text())

    def camera(self, frame: int) -> tuple[Array, Array]:
        """K and w2c of a frame, as written."""
        row = self.cameras["frames"].index(frame)
        return np.array(self.cameras["K"][row]), np.array(self.cameras["w2c"][row])

    def depth(self, frame: int) -> Array:
        return read_depth(self.out / "depth" / f"{frame:04d}.exr").astype(np.float64)

    def flow(self, frame: int) -> Array:
        return read_flow(self.out / "flow" / f"{frame:04d}.exr").astype(np.float64)

    def mask(self, kind: str, frame: int) -> NDArray[np.bool_]:
        return read_mask(self.out / kind / f"{frame:04d}.png")


def render(folder: Path, spec: SceneSpec, out: Path, samples: int) -> Rendered:
    """Renders all frames of a scene that has its .blend."""
    out.mkdir()
    frames = range(1, spec.frames + 1)
    api.render_frames(folder, out, frames=frames, samples=samples, device="cpu", on_frame=ignore_step)
    return Rendered(folder, out, spec)


def context(folder: Path) -> StageContext:
    return StageContext(device="cpu", max_batch=0, work=folder / "work")


# ---------------------------------------------------------------- scenes
def moving_pose(frame: int) -> Array:
    """World-from-camera: the camera moves, turns and rolls a little more every frame."""
    turn = geometry.rotation([0.2, 0.1, 1.0], 3.0 * (frame - 1))
    pose = LOOK_ALONG_Y.copy()
    pose[:3, :3] = turn @ LOOK_ALONG_Y[:3, :3]
    pose[:3, 3] = 0.1 * (frame - 1) * np.array([1.0, 0.5, -0.4])
    return pose


def moving_focal(frame: int) -> float:
    return 60.0 + 2.0 * (frame - 1)


KEYS = (
    TransformKey(1, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "LINEAR"),
    TransformKey(3, (0.4, -0.2, 0.2), (10.0, -20.0, 30.0), (1.2, 0.9, 1.1), "CONSTANT"),
    TransformKey(5, (-0.3, 0.5, 0.1), (0.0, 0.0, -15.0), (1.0, 1.0, 1.0), "LINEAR"),
)


def box_motion(frame: int) -> Array:
    """World motion of the box (4, 4) that KEYS ask for: linear to frame 3, held until frame 5 jumps."""
    first, second, last = KEYS
    key_a, key_b, weight = {
        1: (first, second, 0.0),
        2: (first, second, 0.5),
        3: (second, second, 0.0),
        4: (second, second, 0.0),
        5: (last, last, 0.0),
    }[frame]

    def mix(name: str) -> Array:
        return (1 - weight) * np.array(getattr(key_a, name)) + weight * np.array(getattr(key_b, name))

    x, y, z = mix("rotation_deg")
    motion = np.eye(4)
    turn = geometry.rotation([0, 0, 1], z) @ geometry.rotation([0, 1, 0], y) @ geometry.rotation([1, 0, 0], x)
    motion[:3, :3] = turn @ np.diag(mix("scale"))
    pivot = np.array(PIVOT_M)
    return geometry.translation(pivot + mix("translation_m")) @ motion @ geometry.translation(-pivot)


BOX_CENTRE_M, BOX_SIZE_M = (0.2, 4.0, 0.0), (1.0, 0.8, 1.4)


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """A camera that moves, turns and zooms inside a sphere, before a box that moves; off-centre lens."""
    folder = tmp_path_factory.mktemp("moving")
    box(folder / "meshes" / "box.glb", BOX_CENTRE_M, BOX_SIZE_M)
    sphere(folder / "meshes" / "sphere.glb", SPHERE_RADIUS_M)
    spec = SceneSpec(
        name="moving",
        width=WIDTH,
        height=HEIGHT,
        frames=FRAMES,
        fps=24,
        cx_px=34.5,
        cy_px=21.0,
        camera=tuple(camera_key(f, moving_pose(f), moving_focal(f)) for f in range(1, FRAMES + 1)),
        objects=(
            ObjectSpec("box", "foreground", "meshes/box.glb", PIVOT_M, KEYS),
            ObjectSpec("sphere", "background", "meshes/sphere.glb", (0.0, 0.0, 0.0)),
        ),
    )
    spec.save(folder / "scene.json")
    api.save_blend(folder, max_faces=10**6)
    return render(folder, spec, folder / "out", samples=4)


@pytest.fixture(scope="module")
def texture() -> NDArray[np.uint8]:
    """Noise that covers every byte, smaller than the frame."""
    return np.random.default_rng(0).integers(0, 256, (HEIGHT - 16, WIDTH - 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory, texture: NDArray[np.uint8]) -> Rendered:
    """A textured plane whose texels are the frame's pixels, with nothing around it, rendered by the stage.

    The photo differs from the first frame by 1 everywhere.
    """
    folder = tmp_path_factory.mktemp("picture")
    plane = folder / "meshes" / "plane.glb"
    picture_plane(plane, texture, PICTURE_FOCAL_PX, (WIDTH / 2, HEIGHT / 2), PICTURE_DEPTH_M)
    spec = still_scene(
        folder, (ObjectSpec("plane", "foreground", "meshes/plane.glb", (0.0, 3.0, 0.0)),), frames=2
    )
    api.save_blend(folder, max_faces=10**6)
    photo = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    photo[8:-8, 8:-8] = texture
    write_rgb(folder / "photo.png", photo ^ 1)
    write_mask(folder / "mask.png", np.pad(np.ones((HEIGHT - 16, WIDTH - 16), bool), 8))
    out = folder / "out"
    out.mkdir()
    render_passes(
        RenderConfig(
            folder=None, light="flat", samples=1, background="mesh", plane_depth=2.0, max_faces=5_000_000
        ),
        {"scene": folder},
        out,
        context(folder),
    )
    return Rendered(folder, out, spec)


# ---------------------------------------------------------------- cameras
@pytest.mark.parametrize("frame", range(1, FRAMES + 1))
def test_cameras_are_those_of_the_scene(moving: Rendered, frame: int) -> None:
    K, w2c = moving.camera(frame)
    expected = geometry.intrinsics(moving_focal(frame), 34.5, 21.0)
    np.testing.assert_allclose(K, expected, atol=2e-5)
    np.testing.assert_allclose(w2c, geometry.invert_pose(moving_pose(frame)), atol=1e-6)


def test_cameras_file_says_size_rate_and_depth_range(moving: Rendered) -> None:
    cameras = moving.cameras
    depths = np.stack([moving.depth(f) for f in range(1, FRAMES + 1)])
    assert (cameras["width"], cameras["height"], cameras["fps"]) == (WIDTH, HEIGHT, 24)
    assert cameras["frames"] == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(cameras["depth_range_m"], [depths.min(), depths.max()], rtol=1e-6)


# ---------------------------------------------------------------- depth and masks
@pytest.mark.parametrize("frame", [1, 4])
def test_depth_inside_a_sphere(moving: Rendered, frame: int) -> None:
    K, w2c = moving.camera(frame)
    rays = geometry.camera_rays(geometry.pixel_centres(WIDTH, HEIGHT), K)
    centre = geometry.transform(w2c, np.zeros(3))
    # |depth * ray - centre| = radius, the root in front of a camera that stands inside
    a, b = (rays**2).sum(-1), rays @ centre
    c = centre @ centre - SPHERE_RADIUS_M**2
    expected = (b + np.sqrt(b**2 - a * c)) / a
    background = ~moving.mask("fg_mask", frame)
    error = np.abs(moving.depth(frame) / expected - 1)[background]
    assert error.max() < 1e-3  # the facets of the mesh lie that much inside the sphere


@pytest.mark.parametrize("frame", range(1, FRAMES + 1))
def test_foreground_mask_is_the_projected_box(moving: Rendered, frame: int) -> None:
    K, w2c = moving.camera(frame)
    half = np.array(BOX_SIZE_M) / 2
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
    corners = geometry.transform(box_motion(frame), BOX_CENTRE_M + signs * half)
    outline = ConvexHull(geometry.project(corners, K, w2c)[0])
    pixels = geometry.pixel_centres(WIDTH, HEIGHT)
    outside_px = (pixels @ outline.equations[:, :2].T + outline.equations[:, 2]).max(-1)
    clear = np.abs(outside_px) > 0.01
    mask = moving.mask("fg_mask", frame)
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(mask[clear], (outside_px < 0)[clear])


def test_depth_of_a_plane_and_of_nothing(picture: Rendered) -> None:
    depth = picture.depth(1)
    inside = np.zeros((HEIGHT, WIDTH), dtype=bool)
    inside[8:-8, 8:-8] = True
    np.testing.assert_allclose(depth[inside], PICTURE_DEPTH_M, rtol=1e-6)
    assert np.isposinf(depth[~inside]).all()
    np.testing.assert_array_equal(picture.mask("mask", 1), inside)
    np.testing.assert_array_equal(picture.mask("fg_mask", 1), inside)


def test_background_is_visible_but_no_foreground(moving: Rendered) -> None:
    assert moving.mask("mask", 1).all()
    assert 0.02 < moving.mask("fg_mask", 1).mean() < 0.5


# ---------------------------------------------------------------- flow
@pytest.mark.parametrize("frame", range(1, FRAMES))
def test_flow_is_the_reprojection_of_the_known_motion(moving: Rendered, frame: int) -> None:
    pixels = geometry.pixel_centres(WIDTH, HEIGHT)
    points = geometry.unproject(pixels, moving.depth(frame), *moving.camera(frame))
    motion = box_motion(frame + 1) @ np.linalg.inv(box_motion(frame))
    foreground = moving.mask("fg_mask", frame)
    moved = np.where(foreground[..., None], geometry.transform(motion, points), points)
    expected = geometry.project(moved, *moving.camera(frame + 1))[0] - pixels
    assert np.abs(expected).max() > 2
    np.testing.assert_allclose(moving.flow(frame), expected, atol=0.01)


def test_flow_points_right_and_down(tmp_path: Path) -> None:
    """A plane that moves by +x and -z, seen along +y, flows to the right and down, by f * motion / depth."""
    square = np.array([[-9.0, 6, -9], [9, 6, -9], [9, 6, 9], [-9, 6, 9]])
    write_glb(tmp_path / "square.glb", square, np.array([[0, 1, 2], [0, 2, 3]]))
    keys = (
        TransformKey(1, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "LINEAR"),
        TransformKey(2, (0.3, 0.0, -0.1), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "LINEAR"),
    )
    spec = still_scene(tmp_path, (ObjectSpec("s", "background", "square.glb", (0, 6, 0), keys),), frames=2)
    api.save_blend(tmp_path, max_faces=10**6)
    rendered = render(tmp_path, spec, tmp_path / "out", samples=1)
    np.testing.assert_allclose(rendered.flow(1)[..., 0], 3.0, atol=1e-3)
    np.testing.assert_allclose(rendered.flow(1)[..., 1], 1.0, atol=1e-3)


def test_last_frame_has_no_flow_and_nothing_has_zero_flow(picture: Rendered) -> None:
    assert not (picture.out / "flow" / "0002.exr").exists()
    np.testing.assert_allclose(picture.flow(1), 0.0, atol=1e-5)


# ---------------------------------------------------------------- colour
def test_flat_colours_are_byte_exact(picture: Rendered, texture: NDArray[np.uint8]) -> None:
    rgb = read_rgb(picture.out / "rgb" / "0001.png")
    np.testing.assert_array_equal(rgb[8:-8, 8:-8], texture)
    assert not rgb[:8].any()


def test_pixels_are_identical_in_a_fresh_process(moving: Rendered, tmp_path: Path) -> None:
    with python():
        again = render(moving.folder, moving.spec, tmp_path / "again", samples=4)
    files = sorted(p.relative_to(moving.out) for p in moving.out.rglob("*.*") if p.suffix in (".png", ".exr"))
    assert len(files) == 4 * FRAMES + FRAMES - 1
    readers = {
        "rgb": read_rgb,
        "depth": read_depth,
        "flow": read_flow,
        "mask": read_mask,
        "fg_mask": read_mask,
    }
    for file in files:
        read = readers[file.parts[0]]
        np.testing.assert_array_equal(read(moving.out / file), read(again.out / file), err_msg=str(file))
    assert again.cameras == moving.cameras


def test_a_frame_alone_is_the_frame_of_the_shot(moving: Rendered, tmp_path: Path) -> None:
    """Its foreground's surface is the box where it is then, each side with the points that its area has a right to."""
    api.render_frames(
        moving.folder,
        tmp_path,
        frames=[3],
        samples=4,
        device="cpu",
        on_frame=ignore_step,
        surface_points=3000,
    )
    points = RenderFolder(tmp_path).surface_m(3)
    assert points.shape == (3000, 3) and points.dtype == np.float32
    still = geometry.transform(np.linalg.inv(box_motion(3)), points.astype(np.float64)) - BOX_CENTRE_M
    off = np.abs(np.abs(still) - np.array(BOX_SIZE_M) / 2)
    assert off.min(axis=1).max() < 1e-5
    assert (np.abs(still) < np.array(BOX_SIZE_M) / 2 + 1e-5).all()
    area = 1 / (
        np.array(BOX_SIZE_M) * (1.2, 0.9, 1.1)
    )  # of a side, times the box's volume: it is scaled then
    count = np.bincount(off.argmin(axis=1), minlength=3)
    np.testing.assert_allclose(count / 3000, area / area.sum(), atol=0.02)
    for name, read in (
        ("rgb/0003.png", read_rgb),
        ("depth/0003.exr", read_depth),
        ("flow/0003.exr", read_flow),
    ):
        np.testing.assert_array_equal(read(moving.out / name), read(tmp_path / name))
    assert json.loads((tmp_path / "cameras.json").read_text())["frames"] == [3]


def test_the_stage_reports_what_it_rendered(picture: Rendered) -> None:
    metrics = json.loads((picture.out / "metrics.json").read_text())
    seen = (HEIGHT - 16) * (WIDTH - 16) / (HEIGHT * WIDTH)
    assert metrics["frames"] == 2 and metrics["renderer"] == "CPU"
    assert metrics["photo_psnr_db"] == pytest.approx(20 * np.log10(255))
    assert metrics["foreground_max"] == metrics["visible_min"] == pytest.approx(seen)
    assert metrics["depth_range_m"] == pytest.approx([PICTURE_DEPTH_M, PICTURE_DEPTH_M])


# ---------------------------------------------------------------- the .blend is the scene
EDIT = """
import os, sys, bpy
blend, marker = sys.argv[1:]
bpy.ops.wm.open_mainfile(filepath=blend)
bpy.ops.mesh.primitive_cube_add(size=0.1, location=(0, 2, 0))
scene = bpy.context.scene
scene.camera.data.animation_data_clear()
scene.camera.data.lens = 72.0
scene.camera.data.sensor_fit = "AUTO"
scene.render.engine = "BLENDER_WORKBENCH"
scene.view_settings.view_transform = "AgX"
text = bpy.data.texts.new("autorun.py")
text.write(f"open({marker!r}, 'w').close()")
text.use_module = True
bpy.ops.wm.save_mainfile()
os._exit(0)
"""


def test_an_edited_blend_is_rendered_and_its_scripts_never_run(picture: Rendered, tmp_path: Path) -> None:
    folder, marker = tmp_path / "edited", tmp_path / "ran"
    folder.mkdir()
    for name in ("scene.json", "scene.blend"):
        (folder / name).write_bytes((picture.folder / name).read_bytes())
    command = [sys.executable, "-c", EDIT, str(folder / "scene.blend"), str(marker)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert not marker.exists()
    edited = render(folder, picture.spec, tmp_path / "out", samples=1)
    assert edited.camera(1)[0][0, 0] == pytest.approx(72.0 / 36.0 * WIDTH)
    depth = edited.depth(1)
    assert depth[HEIGHT // 2, WIDTH // 2] == pytest.approx(1.95, abs=1e-4)  # the new cube, as background
    assert not edited.mask("fg_mask", 1)[HEIGHT // 2, WIDTH // 2]
    assert edited.mask("mask", 1)[HEIGHT // 2, WIDTH // 2]
    assert not marker.exists()


# ---------------------------------------------------------------- views
VIEWS = ViewsConfig(
    size=64, samples=4, azimuths_deg=(-30.0, 0.0, 90.0), elevations_deg=(0.0, 25.0), margin=0.1
)


@pytest.fixture(scope="module")
def views(moving: Rendered, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, Any]]:
    out = tmp_path_factory.mktemp("views")
    render_views(VIEWS, {"scene": moving.folder}, out, context(out))
    return out, json.loads((out / "cameras.json").read_text())


def test_views_stand_at_their_angles(views: tuple[Path, Mapping[str, Any]]) -> None:
    cameras = views[1]
    offset = -np.array(BOX_CENTRE_M)  # the camera of frame 1 stands at the origin
    angles = list(zip(cameras["azimuths_deg"], cameras["elevations_deg"], strict=True))
    assert angles == [(-30, 0), (0, 0), (90, 0), (-30, 25), (0, 25), (90, 25)]
    for (azimuth, elevation), w2c, K in zip(angles, cameras["w2c"], cameras["K"], strict=True):
        place = geometry.invert_pose(np.array(w2c))[:3, 3] - BOX_CENTRE_M
        x, y = geometry.rotation([0, 0, 1], azimuth)[:2, :2] @ offset[:2]
        assert np.linalg.norm(place) == pytest.approx(np.linalg.norm(offset), rel=1e-5)
        assert np.degrees(np.arctan2(y, x) - np.arctan2(place[1], place[0])) == pytest.approx(0, abs=1e-3)
        assert np.degrees(np.arcsin(place[2] / np.linalg.norm(place))) == pytest.approx(elevation, abs=1e-3)
        centre = geometry.project(np.array(BOX_CENTRE_M), np.array(K), np.array(w2c))[0]
        np.testing.assert_allclose(centre, [32, 32], atol=1e-3)


def test_views_show_the_foreground_alone_on_white_within_the_margin(
    views: tuple[Path, Mapping[str, Any]],
) -> None:
    masks = np.stack([read_mask(views[0] / "mask" / f"{n:04d}.png") for n in range(1, 7)])
    pictures = np.stack([read_rgb(views[0] / "rgb" / f"{n:04d}.png") for n in range(1, 7)])
    assert masks.any(axis=(1, 2)).all()
    reach_px = max(np.abs(axis + 0.5 - VIEWS.size / 2).max() for axis in np.nonzero(masks)[1:])
    limit_px = VIEWS.size * (0.5 - VIEWS.margin)
    assert limit_px - 2 < reach_px <= limit_px  # a corner reaches the limit, a pixel's centre almost
    assert (pictures[~masks].min(axis=-1) == 255).mean() > 0.9  # all but anti-aliased outlines
    assert (pictures[masks].min(axis=-1) < 255).all()
    assert (pictures[:, 0, 0] == 255).all()
