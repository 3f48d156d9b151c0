"""Users' meshes as foreground and background of a photo's scene, through Blender to the first frame."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from i2v3d.artifacts.scene_spec import SceneSpec
from i2v3d.blender.api import render_frames
from i2v3d.errors import ConfigError, InputError
from i2v3d.geometry import cameras as geometry
from i2v3d.images import read_depth, read_mask, read_rgb
from i2v3d.progress import ignore_step
from i2v3d.scene.foreground.paint import painted
from i2v3d.scene.photo.view import PhotoView
from i2v3d.stages.scene import check_scene
from tests.stages.test_scene_stage import config, no_blender, object_mask, run, section  # noqa: F401


def ball(path: Path) -> str:
    """A ball of another size, away from the origin, of 1280 faces."""
    trimesh.creation.icosphere(subdivisions=3, radius=20.0).apply_translation((100, 3, 50)).export(path)
    return str(path)


def rendered(out: Path, folder: Path) -> Path:
    folder.mkdir()
    render_frames(out, folder, frames=[1], samples=1, device="cpu", on_frame=ignore_step)
    return folder


def with_mesh(values: dict[str, Any], **changes: Any) -> dict[str, Any]:
    front = values["foreground"]
    mesh = front["mesh"] | changes
    return values | {"foreground": front | {"method": "mesh", "mesh": mesh, "stance": "upright"}}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["glb", "obj", "ply"])
def test_a_users_mesh_takes_the_objects_place(config, tmp_path, suffix):  # noqa: F811
    values = with_mesh(config, file=ball(tmp_path / f"ball.{suffix}"))
    still = values | {"keys": [], "camera": values["camera"] | {"moves": []}}
    out = run(section(still), tmp_path)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["foreground_overlap"] > 0.9 and metrics["foreground_faces"] == 1280
    seen = read_mask(rendered(out, tmp_path / "rendered") / "fg_mask" / "0001.png")
    mask = read_mask(out / "mask.png")
    assert (seen & mask).sum() / (seen | mask).sum() > 0.9
    spec = SceneSpec.load(out / "scene.json")
    assert (out / spec.foreground()[0].mesh).suffix == f".{suffix}"


def inside_db(out: Path, folder: Path) -> float:
    """PSNR of the first frame against the photo where both show the foreground."""
    seen = read_mask(folder / "fg_mask" / "0001.png") & read_mask(out / "mask.png")
    off = read_rgb(folder / "rgb" / "0001.png").astype(float) - read_rgb(out / "photo.png")
    return float(10 * np.log10(255**2 / (off[seen] ** 2).mean()))


@pytest.mark.slow
def test_a_mesh_painted_with_the_photo_shows_it_in_frame_one(config, tmp_path):  # noqa: F811
    still = config | {"keys": [], "camera": config["camera"] | {"moves": []}}
    decibels = {}
    for texture in ("own", "photo"):
        folder = tmp_path / texture
        folder.mkdir()
        values = with_mesh(still, file=ball(folder / "ball.glb"), texture=texture)
        out = run(section(values), folder)
        decibels[texture] = inside_db(out, rendered(out, folder / "rendered"))
    assert decibels["photo"] > 30 > decibels["own"] + 10


def test_hidden_and_far_faces_do_not_take_the_photo():
    view = PhotoView(96, 64, focal_px=110.0, horizon_px=20.0, camera_height_m=0.3)
    rgb = np.full((64, 96, 3), [0, 200, 0], np.uint8)
    rgb[28:36, 44:52] = [250, 0, 0]
    y, x = np.mgrid[:64, :96] + 0.5
    mask = (x - 48) ** 2 + (y - 32) ** 2 < 20**2
    near = trimesh.creation.icosphere(4, radius=0.2).apply_translation(view.points((48.0, 32.0), 1.5))
    far = trimesh.creation.icosphere(3, radius=0.1).apply_translation(view.points((48.0, 32.0), 3.0))
    both = trimesh.util.concatenate([near, far])
    mesh = painted(both.vertices, both.faces, rgb, mask, view, "neutral")
    front = (mesh.uv[mesh.faces][..., 0] <= 0.5).all(axis=1)
    _, depth = geometry.project(
        mesh.vertices_m[mesh.faces].mean(axis=1), view.K, geometry.invert_pose(view.c2w)
    )
    assert front[depth < 1.42].all() and not front[depth > 1.58].any()
    assert 0.3 < front[depth < 1.8].mean() < 0.6
    assert (mesh.texture[32, 48] == [250, 0, 0]).all() and (mesh.texture[:, 96:] != [250, 0, 0]).any()


@pytest.mark.slow
def test_a_program_makes_the_foreground(config, tmp_path, no_blender):  # noqa: F811
    script = tmp_path / "program.py"
    script.write_text(
        "import sys, trimesh\nprint('seen', sys.argv[1])\ntrimesh.creation.icosphere(3).export(sys.argv[2])\n"
    )
    command = f"{sys.executable} {script} {{image}} {{mesh}}"
    generator = config["foreground"]["generator"] | {"command": command}
    front = config["foreground"] | {"method": "command", "generator": generator, "stance": "upright"}
    out = run(section(config, foreground=front), tmp_path)
    assert json.loads((out / "metrics.json").read_text())["foreground_overlap"] > 0.9
    assert "seen" in (out / "foreground_program.log").read_text()
    assert (out / SceneSpec.load(out / "scene.json").foreground()[0].mesh).is_file()


@pytest.mark.slow
def test_a_mesh_that_does_not_fit_is_told(config, tmp_path, no_blender, caplog):  # noqa: F811
    trimesh.creation.box((10, 1, 1)).export(tmp_path / "bar.glb")
    run(section(with_mesh(config, file=str(tmp_path / "bar.glb"), turn_deg=0.0)), tmp_path)
    assert "turn its front to the camera with scene.foreground.mesh.rotation_deg" in caplog.text


# ---------------------------------------------------------------- the background
def surroundings(folder: Path, suffix: str) -> dict[str, Any]:
    """An upright wall three units before the second camera of a look-at file, in the axes of the file (y up)."""
    eye, target = np.array([5.0, 1.0, 2.0]), np.array([5.0, 1.0, -7.0])
    wall = trimesh.creation.box((40, 40, 0.01)).apply_translation(eye + np.array([0, 0, -3.0]))
    wall.export(folder / f"wall.{suffix}")
    cameras = {
        "start_pos": [[0, 0, 0], eye.tolist()],
        "end_pos": [[0, 0, -1], target.tolist()],
        "up_pos": [[0, 1, -1], (target + np.array([0, 1, 0])).tolist()],
        "fov": 45,
    }
    (folder / "cameras.json").write_text(json.dumps(cameras))
    return {
        "file": str(folder / f"wall.{suffix}"),
        "cameras": str(folder / "cameras.json"),
        "camera": 2,
        "scale": 0.5,
    }


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["obj", "glb", "ply"])
def test_a_background_mesh_stands_where_its_camera_says(config, tmp_path, suffix):  # noqa: F811
    rear = config["background"]
    mesh = rear["mesh"] | surroundings(tmp_path, suffix)
    values = config | {"keys": [], "camera": config["camera"] | {"moves": []}}
    out = run(section(values, background=rear | {"method": "mesh", "mesh": mesh}), tmp_path)
    folder = rendered(out, tmp_path / "rendered")
    behind = ~read_mask(folder / "fg_mask" / "0001.png")
    assert read_mask(folder / "mask" / "0001.png").all()
    np.testing.assert_allclose(read_depth(folder / "depth" / "0001.exr")[behind], 1.5, atol=0.01)


@pytest.mark.slow
def test_a_background_mesh_without_cameras_is_in_the_scenes_axes(config, tmp_path, no_blender):  # noqa: F811
    trimesh.creation.box((40, 0.01, 40)).apply_translation((0, 6, 0)).export(tmp_path / "wall.ply")
    mesh = config["background"]["mesh"] | {"file": str(tmp_path / "wall.ply"), "scale": 0.5}
    rear = config["background"] | {"method": "mesh", "mesh": mesh}
    out = run(section(config, background=rear), tmp_path)
    (wall,) = (o for o in SceneSpec.load(out / "scene.json").objects if o.role == "background")
    assert geometry.transform(np.array(wall.place), [0, 6, 0]).tolist() == [0, 3, 0]


# ---------------------------------------------------------------- refused before work starts
def test_meshes_that_are_not_there_or_broken_are_refused_at_once(config, tmp_path):  # noqa: F811
    with pytest.raises(ConfigError, match=r"foreground\.mesh\.file is null"):
        check_scene(section(with_mesh(config, file=None)))
    whole = Path(ball(tmp_path / "whole.glb")).read_bytes()
    (tmp_path / "cut.glb").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut\.glb"):
        check_scene(section(with_mesh(config, file=str(tmp_path / "cut.glb"))))
    with pytest.raises(InputError, match=r"more than scene\.max_faces"):
        check_scene(section(with_mesh(config, file=str(tmp_path / "whole.glb")), max_faces=100))
    generator = config["foreground"] | {"method": "command"}
    with pytest.raises(ConfigError, match="command is empty"):
        check_scene(section(config, foreground=generator))
    rear = config["background"] | {"method": "mesh"}
    with pytest.raises(ConfigError, match=r"background\.mesh\.file is null"):
        check_scene(section(config, background=rear))
    mesh = rear["mesh"] | surroundings(tmp_path, "obj")
    with pytest.raises(ConfigError, match=r"mesh\.camera is 3 but .* has 2 cameras"):
        check_scene(section(config, background=rear | {"mesh": mesh | {"camera": 3}}))
    (tmp_path / "cameras.json").write_text("{}")
    with pytest.raises(InputError, match=r"cameras\.json cannot be read"):
        check_scene(section(config, background=rear | {"mesh": mesh}))
