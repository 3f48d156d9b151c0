"""Scenes and cameras to and from other programs, by the commands that users call."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from i2v3d.artifacts.rendered_cameras import RenderedCameras
from i2v3d.artifacts.scene_spec import ObjectSpec, TransformKey
from i2v3d.blender import api
from i2v3d.cli import main
from i2v3d.errors import InputError
from i2v3d.scene.motion.camera_files import read_track
from tests.blender.test_blender import moving_pose
from tests.support.blender_scenes import box, camera_key, still_scene

pytestmark = pytest.mark.slow

FRAMES = 4


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A box that moves before a camera that flies, rendered into out/."""
    folder = tmp_path_factory.mktemp("scene")
    box(folder / "box.glb", (0.0, 4.0, 0.0), (1.0, 1.0, 1.0))
    keys = tuple(
        TransformKey(frame, (0.1 * frame, 0.0, 0.0), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "LINEAR")
        for frame in (1, FRAMES)
    )
    spec = still_scene(
        folder, (ObjectSpec("box", "foreground", "box.glb", (0.0, 4.0, 0.0), keys),), frames=FRAMES
    )
    camera = tuple(camera_key(f, moving_pose(f), 60.0) for f in range(1, FRAMES + 1))
    type(spec)(**{**vars(spec), "camera": camera}).save(folder / "scene.json")
    api.save_blend(folder, max_faces=1000)
    (folder / "out").mkdir()
    frames = range(1, FRAMES + 1)
    api.render_frames(
        folder, folder / "out", frames=frames, samples=1, device="cpu", on_frame=lambda *_: None
    )
    return folder


@pytest.mark.parametrize("kind", ["nerfstudio", "colmap", "look_at"])
def test_rendered_cameras_go_out_and_come_back(kind: str, scene: Path, tmp_path: Path, capsys) -> None:
    """From Blender through a file of each format: pose error and reprojection error stay under the bars."""
    source = scene / "out" / "cameras.json"
    assert main(["cameras", str(source), str(tmp_path / "c"), "--to", kind]) == 0
    assert f"{FRAMES} cameras of 64x48" in capsys.readouterr().out
    rendered, read = RenderedCameras.load(source).track(source), read_track(tmp_path / "c", kind, (64, 48))
    assert np.abs(rendered.c2w - read.c2w).max() < 1e-4
    assert np.abs(rendered.K - read.K).max() < 0.05
    for frame in range(FRAMES):
        np.testing.assert_allclose(read.c2w[frame], moving_pose(frame + 1), atol=1e-4)


def test_cameras_go_from_one_program_to_another(scene: Path, tmp_path: Path) -> None:
    assert main(["cameras", str(scene / "out/cameras.json"), str(tmp_path / "a"), "--to", "colmap"]) == 0
    words = ["cameras", str(tmp_path / "a"), str(tmp_path / "b.json"), "--from", "colmap", "--to", "look_at"]
    assert main(words) == 0
    data = json.loads((tmp_path / "b.json").read_text())
    assert set(data) == {"start_pos", "end_pos", "up_pos", "fov"} and len(data["start_pos"]) == FRAMES


def test_a_scene_becomes_a_glb_with_its_motion_and_camera(scene: Path, tmp_path: Path) -> None:
    assert main(["export", str(scene), str(tmp_path / "s.glb")]) == 0
    data = (tmp_path / "s.glb").read_bytes()
    gltf = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    assert len(gltf["cameras"]) == 1 and len(gltf["animations"]) == 1
    found = api.inspect_mesh(tmp_path / "s.glb", max_faces=1000)
    assert len(found.faces) == 12 and list(found.actions.values()) == pytest.approx([(FRAMES - 1) / 24])
    loaded = trimesh.load(tmp_path / "s.glb").to_geometry()
    assert loaded.extents == pytest.approx((1.0, 1.0, 1.0))


def test_a_scene_becomes_a_blend(scene: Path, tmp_path: Path) -> None:
    assert main(["export", str(scene), str(tmp_path / "s.blend")]) == 0
    assert (tmp_path / "s.blend").read_bytes() == (scene / "scene.blend").read_bytes()


def test_other_suffixes_and_unfinished_scenes_are_refused(scene: Path, tmp_path: Path, capsys) -> None:
    with pytest.raises(InputError, match=r"as \.glb or \.blend, not s\.usd"):
        api.export_scene(scene, tmp_path / "s.usd")
    assert main(["export", str(tmp_path), str(tmp_path / "s.glb")]) == 2
    assert "is no finished scene; name results/RUN/VARIANT/stages/scene" in capsys.readouterr().err
    assert main(["cameras", str(tmp_path / "no.json"), "x", "--to", "colmap"]) == 2
    assert (
        "no.json is not there; name results/RUN/VARIANT/stages/render/cameras.json" in capsys.readouterr().err
    )


def test_a_mesh_is_described(scene: Path, tmp_path: Path, capsys) -> None:
    assert main(["figure", str(tmp_path / "figure.fbx")]) == 0
    assert main(["mesh", str(tmp_path / "figure.fbx")]) == 0
    text = capsys.readouterr().out
    assert "jump (1.00 s), walk (1.00 s), wave (1.00 s)" in text and "puffed" in text
