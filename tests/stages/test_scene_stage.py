"""The scene stage on drawn photos and on the shipped ones: what it writes, and what it refuses."""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import trimesh
from PIL import Image

from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.artifacts.scene_folder import SceneFolder
from i2v3d.artifacts.scene_spec import SceneSpec
from i2v3d.blender.api import render_frames
from i2v3d.config.scene import SceneConfig
from i2v3d.config.sections import build
from i2v3d.errors import ConfigError, InputError, WeightsError
from i2v3d.geometry import cameras as geometry
from i2v3d.images import read_depth, read_mask, read_rgb
from i2v3d.progress import ignore_step
from i2v3d.scene.background.ground_and_wall import surface_depth
from i2v3d.scene.photo.view import PhotoView
from i2v3d.stages.context import StageContext
from i2v3d.stages.render import against_photo
from i2v3d.stages.scene import build_scene, check_scene
from i2v3d.workflow.composition import compose_variants

ROOT = Path(__file__).parents[2]
PHOTOS = ["astronaut", "coffee", "coffee_figure"]
FILES = ["mask.png", "meshes", "metrics.json", "photo.png", "plate.png", "scene.json", "sheet.png"]


@functools.cache
def _composed(name: str) -> dict[str, Any]:
    (variant,) = compose_variants(ROOT / "conf", [f"scene={name}"])
    return variant.config["scene"]


def options(name: str) -> dict[str, Any]:
    """A shipped scene's options for models of 192x128, a copy of their own."""
    return copy.deepcopy(_composed(name))


def object_mask() -> np.ndarray:
    y, x = np.mgrid[:120, :180] + 0.5
    return (x - 90) ** 2 + (y - 70) ** 2 < 35**2


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    """The coffee scene's options, on a drawn photo with a mask."""
    noise = np.random.default_rng(0).normal(0, 10, (120, 180, 3))
    rgb = np.where(object_mask()[..., None], [200, 60, 40], [70, 110, 80]) + noise
    Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8)).save(tmp_path / "photo.png")
    Image.fromarray(object_mask().astype(np.uint8) * 255).save(tmp_path / "mask.png")
    values = options("coffee")
    drawn = {
        "photo": str(tmp_path / "photo.png"),
        "mask": str(tmp_path / "mask.png"),
        "width": 96,
        "height": 64,
    }
    return values | drawn


@pytest.fixture
def no_blender(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders that the stage asked Blender to save, without starting it."""
    asked: list[Path] = []
    monkeypatch.setattr("i2v3d.blender.api.save_blend", lambda folder, **_: asked.append(folder))
    return asked


def section(values: dict[str, Any], **changes: Any) -> SceneConfig:
    return build(SceneConfig, values | changes, "scene")


def run(cfg: SceneConfig, tmp_path: Path) -> Path:
    out = tmp_path / "out"
    out.mkdir()
    build_scene(cfg, {}, out, StageContext(device="cpu", max_batch=0, work=tmp_path, metrics_file=None))
    return out


def test_it_writes_everything_and_then_calls_blender(config, tmp_path, no_blender):
    out = run(section(config), tmp_path)
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert no_blender == [out]
    photo, mask, plate = (read_rgb(out / f"{n}.png") for n in ("photo", "mask", "plate"))
    assert photo.shape == mask.shape == (64, 96, 3)
    pad_x, pad_y = SceneSpec.load(out / "scene.json").notes["plate_padding_px"]
    assert plate.shape == (64 + 2 * pad_y, 96 + 2 * pad_x, 3)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["mask_coverage"] == pytest.approx(read_mask(out / "mask.png").mean())
    assert metrics["mask_source"] == "file" and metrics["cut_by_frame"] == []


def test_the_scene_agrees_with_its_meshes(config, tmp_path, no_blender):
    out = run(section(config), tmp_path)
    spec = SceneSpec.load(out / "scene.json")
    assert (spec.width, spec.height, spec.frames, spec.fps) == (96, 64, 15, 8)
    assert [o.role for o in spec.objects] == ["foreground", "background"]
    first = spec.camera[0]
    K = geometry.intrinsics(first.focal_px, spec.cx_px, spec.cy_px)
    w2c = geometry.invert_pose(np.array(first.world_from_camera))
    foreground = spec.foreground()[0]
    x, y, z = trimesh.load(out / foreground.mesh, process=False).to_geometry().vertices.T
    pixels, _ = geometry.project(np.stack([x, -z, y], axis=-1), K, w2c)
    np.testing.assert_allclose(pixels, np.round(pixels), atol=1e-3)
    rows, columns = np.nonzero(read_mask(out / "mask.png"))
    assert pixels.min(axis=0) == pytest.approx([columns.min(), rows.min()], abs=1e-3)
    assert pixels.max(axis=0) == pytest.approx([columns.max() + 1, rows.max() + 1], abs=1e-3)
    pivot, _ = geometry.project(foreground.pivot_m, K, w2c)
    assert pivot == pytest.approx([columns.mean() + 0.5, rows.mean() + 0.5])


def test_the_foreground_turns_about_a_point_of_choice(config, tmp_path, no_blender):
    """The camera's orbit stays about its centre."""
    (tmp_path / "own").mkdir()
    chosen = SceneSpec.load(run(section(config, pivot_m=[1.0, 2.0, 3.0]), tmp_path) / "scene.json")
    centre = SceneSpec.load(run(section(config), tmp_path / "own") / "scene.json")
    assert chosen.foreground()[0].pivot_m == (1.0, 2.0, 3.0) != centre.foreground()[0].pivot_m
    assert chosen.camera == centre.camera


def test_the_same_configuration_gives_the_same_files(config, tmp_path, no_blender):
    folders = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        folders.append(run(section(config, mask=None), tmp_path / name))
    for path in folders[0].rglob("*.*"):
        assert path.read_bytes() == (folders[1] / path.relative_to(folders[0])).read_bytes(), path.name


def test_without_a_mask_transparency_decides_and_else_grabcut(config, tmp_path, no_blender):
    out = run(section(config, mask=None), tmp_path)
    assert json.loads((out / "metrics.json").read_text())["mask_source"] == "grabcut"
    rgba = np.dstack([np.asarray(Image.open(config["photo"])), object_mask().astype(np.uint8) * 255])
    Image.fromarray(rgba).save(tmp_path / "cut.png")
    (tmp_path / "b").mkdir()
    out = run(section(config, mask=None, photo=str(tmp_path / "cut.png")), tmp_path / "b")
    assert json.loads((out / "metrics.json").read_text())["mask_source"] == "alpha"


@pytest.mark.parametrize("stance", ["facing", "upright", "lying"])
@pytest.mark.slow
def test_every_stance_builds(config, tmp_path, no_blender, stance):
    front = config["foreground"] | {"stance": stance}
    assert (run(section(config, foreground=front), tmp_path) / "scene.json").is_file()


def test_a_wall_in_front_of_the_object_is_refused(config, tmp_path, no_blender):
    rear = config["background"] | {"wall_distance_m": 0.2}
    with pytest.raises(ConfigError, match="put the wall behind it"):
        run(section(config, background=rear), tmp_path)
    assert no_blender == []


@pytest.mark.parametrize("moves", [[], ["zoom"]])
def test_only_the_photos_own_view_is_compared_with_it(config, tmp_path, no_blender, moves):
    moved = [
        {"kind": kind, "amount": 1.5, "start_frame": 1, "end_frame": 5, "interpolation": "LINEAR"}
        for kind in moves
    ]
    camera = config["camera"] | {"moves": moved}
    start = 3 if moves else 1
    out = run(section(config, camera=camera, keys=[], start_frame=start, frames=10), tmp_path)
    assert SceneSpec.load(out / "scene.json").starts_with_photo() == (not moves)


# ---------------------------------------------------------------- a background from a depth map
@pytest.fixture
def with_depth(config, tmp_path) -> dict[str, Any]:
    """The drawn photo with a depth map: a floor, and on the right a box that stands in front of it."""
    focal_px = geometry.focal_from_fov(45, 180)
    view = PhotoView(180, 120, focal_px, horizon_px=24.0, camera_height_m=2.0)
    depth = surface_depth(view, geometry.pixel_centres(180, 120), 12.0)  # twice as large as the scene
    depth[20:80, 140:165] = 4.0
    depth[object_mask()] = 0.4
    np.save(tmp_path / "depth.npy", depth)
    map_ = config["background"]["depth"] | {"file": str(tmp_path / "depth.npy")}
    rear = {"method": "depth", "depth": map_, "horizon": 0.2, "wall_distance_m": 6.0}
    upright = {"stance": "upright", "distance_m": focal_px / (81 * 1.02 * np.cos(np.radians(view.pitch_deg)))}
    return config | {
        "background": config["background"] | rear,
        "foreground": config["foreground"] | upright,
    }


def test_a_depth_map_becomes_the_background(with_depth, tmp_path, no_blender):
    out = run(section(with_depth), tmp_path)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["depth_kind"] == "metric" and metrics["depth_off_ground_and_wall"] < 0.02
    assert metrics["depth_scale"] == pytest.approx(0.5, rel=0.02)
    mesh = trimesh.load(out / "meshes" / "background.glb", process=False).to_geometry()
    x, y, z = mesh.vertices.T
    first = SceneSpec.load(out / "scene.json").camera[0]
    w2c = geometry.invert_pose(np.array(first.world_from_camera))
    _, depth = geometry.project(np.stack([x, -z, y], axis=-1), np.eye(3), w2c)
    assert (np.abs(depth - 2.0) < 0.05).sum() > 20  # the box, at half its depth
    assert depth.min() > 1.0  # and nothing of the object


@pytest.mark.slow
def test_a_cut_shows_nothing_in_frame_one_and_opens_to_the_side(with_depth, tmp_path):
    moves = [{"kind": "truck", "amount": -0.25, "start_frame": 1, "end_frame": 2, "interpolation": "LINEAR"}]
    camera = with_depth["camera"] | {"moves": moves}
    out = run(section(with_depth, keys=[], frames=2, camera=camera), tmp_path)
    rendered = tmp_path / "rendered"
    rendered.mkdir()
    render_frames(out, rendered, frames=[1, 2], samples=1, device="cpu", on_frame=ignore_step)
    assert read_mask(rendered / "mask" / "0001.png").all()
    assert 0.005 < (~read_mask(rendered / "mask" / "0002.png")).mean() < 0.1
    rows = slice(14, 18)  # where the box stands in front of the wall, above all ground
    depth = read_depth(rendered / "depth" / "0002.exr")[rows]
    behind = np.isfinite(depth) & ~read_mask(rendered / "fg_mask" / "0002.png")[rows]
    assert (behind & (depth < 2.1)).any() and (behind & (depth > 5.5)).any()
    assert not (behind & (depth > 2.2) & (depth < 5.0)).any()  # no skin from the box to the wall


def test_what_a_depth_background_lacks_is_refused_at_once(with_depth):
    rear = with_depth["background"]
    missing = rear | {"depth": rear["depth"] | {"file": "none.exr"}}
    with pytest.raises(InputError, match=r"none\.exr does not exist"):
        check_scene(section(with_depth, background=missing))
    network = rear | {"depth": rear["depth"] | {"file": None}}
    with pytest.raises(WeightsError, match="hf download depth-anything/Depth-Anything-V2-Small-hf"):
        check_scene(section(with_depth, background=network))
    sam2 = with_depth["segment"] | {"method": "sam2"}
    with pytest.raises(WeightsError, match="hf download facebook/sam2"):
        check_scene(section(with_depth, mask=None, segment=sam2))
    check_scene(section(with_depth, segment=sam2))  # the mask is given
    with pytest.raises(WeightsError, match=r"hf download diffusers/stable-diffusion-xl-1\.0-inpainting"):
        check_scene(section(with_depth, inpaint=with_depth["inpaint"] | {"method": "sdxl"}))


# ---------------------------------------------------------------- refused before work starts
def painted(path: Path, mask: np.ndarray) -> str:
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    return str(path)


def test_bad_pictures_are_refused_at_once(config, tmp_path):
    with pytest.raises(InputError, match=r"no_such\.jpg does not exist"):
        check_scene(section(config, photo="no_such.jpg"))
    small = painted(tmp_path / "small.png", object_mask()[::2, ::2])
    with pytest.raises(InputError, match="is 90x60 but the photo is 180x120"):
        check_scene(section(config, mask=small))
    for value, message in ((False, "selects no pixel"), (True, "selects every pixel")):
        mask = painted(tmp_path / "flat.png", np.full((120, 180), value))
        with pytest.raises(InputError, match=message):
            check_scene(section(config, mask=mask))


def test_bad_boxes_and_animations_are_refused_at_once(config):
    box = config["segment"] | {"box": [0.8, 0.1, 0.2, 0.9]}
    with pytest.raises(ConfigError, match="x0 < x1"):
        check_scene(section(config, segment=box))
    with pytest.raises(
        ConfigError, match=r"moves\[0\] \(orbit\) uses frame 15 but the shot has frames 1 to 8"
    ):
        check_scene(section(config, frames=8))
    with pytest.raises(ConfigError, match="ascending frame"):
        check_scene(section(config, keys=config["keys"][::-1]))


def test_a_mask_outside_the_crop_is_refused(config, tmp_path):
    corner = np.zeros((120, 180), bool)
    corner[:10] = True
    cfg = section(config, mask=painted(tmp_path / "top.png", corner), width=192, height=64)
    check_scene(cfg)
    with pytest.raises(InputError, match="move the foreground into the centred crop"):
        run(cfg, tmp_path)


@pytest.mark.slow
def test_blender_sees_the_photo_in_frame_one(config, tmp_path):
    """The whole way: axes, intrinsics, texture coordinates and colours survive Blender's importer."""
    out = run(section(config, keys=[], camera=config["camera"] | {"moves": []}), tmp_path)
    rendered = tmp_path / "rendered"
    rendered.mkdir()
    render_frames(out, rendered, frames=[1], samples=1, device="cpu", on_frame=ignore_step)
    mask = read_mask(out / "mask.png")
    np.testing.assert_array_equal(read_mask(rendered / "fg_mask" / "0001.png"), mask)
    error = read_rgb(rendered / "rgb" / "0001.png").astype(float) - read_rgb(out / "photo.png")
    assert np.abs(error[mask]).max() <= 1
    plate_shown = ~cv2.dilate(mask.astype(np.uint8), np.ones((7, 7))).astype(bool)
    assert np.abs(error[plate_shown]).mean() < 1  # a larger cell of the background holds a few pixels


# ---------------------------------------------------------------- the shipped scenes
@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.slow
def test_shipped_scenes_build(name, tmp_path, no_blender, monkeypatch):
    monkeypatch.chdir(ROOT)
    cfg = section(options(name))
    check_scene(cfg)
    out = run(cfg, tmp_path)
    assert 0.2 < json.loads((out / "metrics.json").read_text())["mask_coverage"] < 0.6
    assert len(SceneSpec.load(out / "scene.json").camera) == cfg.frames


@pytest.mark.slow
@pytest.mark.parametrize("name", ["astronaut", "coffee"])
def test_the_first_frame_shows_the_photo_at_full_size(name, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    out = run(section(options(name), width=1024, height=576), tmp_path)
    rendered = tmp_path / "rendered"
    rendered.mkdir()
    render_frames(out, rendered, frames=[1], samples=2, device="cpu", on_frame=ignore_step)
    assert read_mask(rendered / "mask" / "0001.png").all()
    found = against_photo(SceneFolder(out), SceneSpec.load(out / "scene.json"), RenderFolder(rendered))
    assert found["photo_psnr_foreground_db"] > 35 and found["photo_psnr_db"] > 32


@pytest.mark.slow
def test_the_coffee_mask_is_the_cup_on_its_saucer(tmp_path, no_blender, monkeypatch):
    """Against ellipses drawn by hand over saucer, cup and spoon handle."""
    monkeypatch.chdir(ROOT)
    out = run(section(options("coffee"), width=600, height=400), tmp_path)
    y, x = np.mgrid[:400, :600] + 0.5
    saucer = ((x - 278) / 201) ** 2 + ((y - 228) / 161) ** 2 < 1
    cup = ((x - 290) / 118) ** 2 + ((y - 118) / 100) ** 2 < 1
    truth, mask = saucer | cup, read_mask(out / "mask.png")
    assert (mask & truth).sum() / (mask | truth).sum() > 0.9
