"""The background as one image plane: frame 1 shows the plate as it is, and nothing is seen beside it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from i2v3d.artifacts.scene_spec import ObjectSpec, SceneSpec
from i2v3d.blender import api
from i2v3d.config.render import RenderConfig
from i2v3d.errors import ConfigError
from i2v3d.images import read_depth, read_mask, read_rgb, write_rgb
from i2v3d.scene.background.image_plane import write_plane_scene
from i2v3d.stages.context import StageContext
from i2v3d.stages.render import render_passes
from tests.support.blender_scenes import HEIGHT, LOOK_ALONG_Y, WIDTH, box, camera_key, still_scene

pytestmark = pytest.mark.slow

PAD_X, PAD_Y, PIVOT_DEPTH_M = 6, 4, 3.0


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A box before a wall, seen by a camera that then moves to the right; the plate has a padding of noise."""
    folder = tmp_path_factory.mktemp("plane") / "scene"
    box(folder / "meshes" / "box.glb", (0.0, PIVOT_DEPTH_M, 0.0), (0.5, 0.4, 0.5))
    box(folder / "meshes" / "wall.glb", (0.0, 8.0, 0.0), (30.0, 0.1, 30.0))
    spec = still_scene(
        folder,
        (
            ObjectSpec("box", "foreground", "meshes/box.glb", (0.0, PIVOT_DEPTH_M, 0.0)),
            ObjectSpec("wall", "background", "meshes/wall.glb", (0.0, 0.0, 0.0)),
        ),
        frames=2,
    )
    moved = LOOK_ALONG_Y.copy()
    moved[0, 3] = 1.0
    cameras = (camera_key(1, LOOK_ALONG_Y, 60.0), camera_key(2, moved, 60.0))
    notes = {"plate_padding_px": [PAD_X, PAD_Y]}
    dataclasses.replace(spec, camera=cameras, notes=notes).save(folder / "scene.json")
    noise = np.random.default_rng(0).integers(
        0, 256, (HEIGHT + 2 * PAD_Y, WIDTH + 2 * PAD_X, 3), dtype=np.uint8
    )
    write_rgb(folder / "plate.png", noise)
    api.save_blend(folder, max_faces=10**6)
    return folder


def test_frame_one_shows_the_plate_behind_the_object_and_nothing_beside_it(
    scene: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    cfg = RenderConfig(
        folder=None, light="flat", samples=1, background="plane", plane_depth=2.0, max_faces=10**6
    )
    render_passes(cfg, {"scene": scene}, out, StageContext(device="cpu", max_batch=0, work=tmp_path / "work"))
    foreground = read_mask(out / "fg_mask" / "0001.png")
    assert 0.02 < foreground.mean() < 0.3
    plate = read_rgb(scene / "plate.png")[PAD_Y:-PAD_Y, PAD_X:-PAD_X]
    assert np.array_equal(read_rgb(out / "rgb" / "0001.png")[~foreground], plate[~foreground])
    assert read_mask(out / "mask" / "0001.png").all()
    np.testing.assert_allclose(
        read_depth(out / "depth" / "0001.exr")[~foreground], 2 * PIVOT_DEPTH_M, rtol=1e-5
    )
    # One metre to the right moves a plane at 6 m by 10 px of a focal length of 60: 4 px beyond the padding.
    seen = read_mask(out / "mask" / "0002.png")
    assert not seen[:, -4:].any() and seen[:, :-4].all()
    shifted = read_rgb(scene / "plate.png")[PAD_Y:-PAD_Y, PAD_X + 10 :]
    behind = seen & ~read_mask(out / "fg_mask" / "0002.png")
    found = read_rgb(out / "rgb" / "0002.png")[:, : shifted.shape[1]]
    assert np.array_equal(found[behind[:, : shifted.shape[1]]], shifted[behind[:, : shifted.shape[1]]])


def test_the_scene_itself_stays_as_it_is(scene: Path, tmp_path: Path) -> None:
    before = (scene / "scene.json").read_bytes()
    write_plane_scene(scene, tmp_path / "plane", 1.5)
    plane = SceneSpec.load(tmp_path / "plane" / "scene.json")
    assert [item.name for item in plane.objects] == ["box", "image_plane"]
    assert (scene / "scene.json").read_bytes() == before
    assert sorted(p.name for p in (scene / "meshes").iterdir()) == ["box.glb", "wall.glb"]


def test_a_plane_before_the_foreground_is_refused(scene: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"plane_depth is 0\.5 .* use more than 1"):
        write_plane_scene(scene, tmp_path / "plane", 0.5)
