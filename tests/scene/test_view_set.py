"""A background of several views: each adds what the ones before it cannot see, and the photo's stays as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2v3d.artifacts.scene_spec import SceneSpec
from i2v3d.blender.api import render_frames
from i2v3d.config.scene import ViewsBackgroundConfig
from i2v3d.errors import ConfigError, InputError
from i2v3d.geometry import cameras as geometry
from i2v3d.images import read_mask
from i2v3d.progress import ignore_step
from i2v3d.scene.background.view_set import DepthView, other_views, view_meshes
from i2v3d.stages.scene import check_scene
from tests.stages.test_scene_stage import config, no_blender, object_mask, run, section  # noqa: F401

WIDTH, HEIGHT, SCALE = 180, 120, 0.5
FOCAL = geometry.focal_from_fov(45, WIDTH)
K = geometry.intrinsics(FOCAL, WIDTH / 2, HEIGHT / 2)
EYES = np.array([[0.0, 0.0, 0.0], [-1.4, 0.0, 0.0], [1.4, 0.0, 0.0]])


def pose(eye: np.ndarray) -> np.ndarray:
    """A camera (OpenCV axes) that looks along -z of a world whose y is up, as reconstructions have it."""
    return geometry.look_at(eye, eye + np.array([0, 0, -1]), (0, 1, 0))


def seen(eye: np.ndarray) -> np.ndarray:
    """Planar depth of a wall 12 units away and a board 6 units away, right of the middle."""
    rays = geometry.camera_rays(geometry.pixel_centres(WIDTH, HEIGHT), K) @ pose(eye)[:3, :3].T
    at_board = eye + 6.0 * rays
    board = (np.abs(at_board[..., 0] - 1.6) < 0.5) & (np.abs(at_board[..., 1]) < 1.2)
    return np.where(board, 6.0, 12.0)


def written(folder: Path) -> dict[str, Any]:
    """The files of three views; the options that name them."""
    rng = np.random.default_rng(0)
    for number, eye in enumerate(EYES, start=1):
        depth = seen(eye)
        if number == 1:
            depth[object_mask()] = 3.0
        else:
            picture = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            Image.fromarray(picture).save(folder / f"{number:04d}.png")
        np.save(folder / f"{number:04d}_depth.npy", depth)
    cameras = {
        "start_pos": EYES.tolist(),
        "end_pos": (EYES + np.array([0, 0, -1])).tolist(),
        "up_pos": (EYES + np.array([0, 1, -1])).tolist(),
        "fov": 45,
    }
    (folder / "cameras.json").write_text(json.dumps(cameras))
    return {"folder": str(folder), "cameras": str(folder / "cameras.json"), "camera": 1, "scale": SCALE}


def with_views(config: dict[str, Any], place: Path, **changes: Any) -> dict[str, Any]:  # noqa: F811
    place.mkdir(exist_ok=True)
    views = config["background"]["views"] | written(place) | changes
    rear = config["background"] | {"method": "views", "views": views, "horizon": 0.2, "wall_distance_m": 6.0}
    return config | {"background": rear, "foreground": config["foreground"] | {"stance": "upright"}}


def test_views_stand_where_their_cameras_say(tmp_path: Path) -> None:
    cfg = ViewsBackgroundConfig(**({"cameras_format": "look_at"} | written(tmp_path)))  # type: ignore[arg-type]
    photo_c2w = geometry.look_at([0, 0, 1.0], [0, 1.0, 1.0])
    left, right = other_views(cfg, (WIDTH, HEIGHT), photo_c2w, 1e3)
    np.testing.assert_allclose(left.c2w[:3, 3], [-0.7, 0, 1], atol=1e-9)
    np.testing.assert_allclose(right.c2w[:3, 3], [0.7, 0, 1], atol=1e-9)
    np.testing.assert_allclose(left.c2w[:3, :3], photo_c2w[:3, :3], atol=1e-9)
    assert set(np.unique(right.depth_m)) == {3.0, 6.0}
    assert left.world()[..., 1].max() == pytest.approx(6.0)


def test_a_further_view_adds_only_what_is_new(tmp_path: Path) -> None:
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    views = [DepthView(rgb, seen(eye), K, pose(eye)) for eye in EYES]
    whole, left, right = view_meshes(views[0], views[1:], 0.08)
    assert len(whole.faces) > 2 * len(right.faces) and len(left.faces) > 0
    _, depth = geometry.project(left.vertices_m, K, geometry.invert_pose(pose(EYES[0])))
    pixels, _ = geometry.project(left.vertices_m, K, geometry.invert_pose(pose(EYES[0])))
    outside = pixels[:, 0] < 2
    hidden = depth > 11.9
    assert (outside | hidden).all() and outside.any() and (~outside).any()
    assert len(view_meshes(views[0], [views[0]], 0.08)) == 1


def holes(scene: Path, folder: Path) -> list[float]:
    folder.mkdir()
    render_frames(scene, folder, frames=[1, 2, 3], samples=1, device="cpu", on_frame=ignore_step)
    return [float((~read_mask(folder / "mask" / f"000{n}.png")).mean()) for n in (1, 2, 3)]


@pytest.mark.slow
def test_other_views_fill_what_the_photo_hides(config, tmp_path):  # noqa: F811
    moves = [
        {"kind": "truck", "amount": 0.5, "start_frame": 1, "end_frame": 2, "interpolation": "LINEAR"},
        {"kind": "truck", "amount": -1.0, "start_frame": 2, "end_frame": 3, "interpolation": "LINEAR"},
    ]
    still = config | {"keys": [], "frames": 3, "camera": config["camera"] | {"moves": moves}}
    values = with_views(still, tmp_path / "views")
    out = run(section(values), tmp_path)
    assert json.loads((out / "metrics.json").read_text())["background_views"] == 3
    filled = holes(out, tmp_path / "filled")
    alone = json.loads((tmp_path / "views" / "cameras.json").read_text())
    for name in ("start_pos", "end_pos", "up_pos"):
        alone[name] = alone[name][:1]
    (tmp_path / "views" / "cameras.json").write_text(json.dumps(alone))
    (tmp_path / "alone").mkdir()
    gaps = holes(run(section(values), tmp_path / "alone"), tmp_path / "gaps")
    assert filled[0] == gaps[0] == 0.0
    assert min(gaps[1:]) > 0.05 and max(filled[1:]) < 0.01
    assert len(SceneSpec.load(out / "scene.json").objects) == 2


def test_what_is_missing_is_named_before_any_work(config, tmp_path):  # noqa: F811
    values = with_views(config, tmp_path / "views")
    check_scene(section(values))
    with pytest.raises(ConfigError, match=r"views\.camera is 4 but .* has 3 cameras"):
        check_scene(section(with_views(config, tmp_path / "views", camera=4)))
    with pytest.raises(ConfigError, match="lacks folder or cameras"):
        check_scene(section(with_views(config, tmp_path / "views", folder=None)))
    (tmp_path / "views" / "0002_depth.npy").unlink()
    with pytest.raises(InputError, match=r"has no depth map of camera 2; expected 0002_depth with \.png"):
        check_scene(section(values))
    (tmp_path / "views" / "0003.png").unlink()
    np.save(tmp_path / "views" / "0002_depth.npy", seen(EYES[1]))
    with pytest.raises(InputError, match="has no picture of camera 3"):
        check_scene(section(values))
