"""The pass of a render under the photo's light: from which files, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from i2v3d.artifacts.lit import no_light, write_lit
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.artifacts.scene_folder import SceneFolder
from i2v3d.errors import InputError
from i2v3d.images import read_rgb, write_rgb
from i2v3d.progress import ignore_step
from i2v3d.toy.moving_disc import write_moving_disc
from tests.support.photo_scenes import write_photo_scene


@pytest.fixture
def folders(tmp_path: Path) -> tuple[RenderFolder, SceneFolder]:
    """A render, and a scene whose photo is its first frame with half the light."""
    render, scene = tmp_path / "render", tmp_path / "scene"
    write_moving_disc(render, frames=4, height=32, width=48)
    shutil.rmtree(render / "lit")
    first = RenderFolder(render).rgb(1)
    photo = np.rint(((first / 255.0) ** 2.2 / 2) ** (1 / 2.2) * 255).astype(np.uint8)
    write_photo_scene(scene, photo, 4)
    return RenderFolder(render), SceneFolder(scene)


def test_frames_take_the_light_of_the_photo(folders: tuple[RenderFolder, SceneFolder]) -> None:
    render, scene = folders
    render.write_surface(1, np.full((50, 3), 30, dtype=np.float32))
    seen = []
    light = write_lit(render, scene, lambda done, total: seen.append((done, total)))
    assert light.haze == 0 and seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    lit = [read_rgb(render.file("lit", frame)) for frame in range(1, 5)]
    assert np.abs(lit[0].astype(int) - scene.photo())[render.visible(1)].max() <= 3
    third = render.rgb(3)
    bright = third.max(-1) > 40
    assert lit[2][bright].mean() / third[bright].mean() == pytest.approx(0.5 ** (1 / 2.2), abs=0.03)
    assert not render.folder("surface").exists(), "what casts shadows is of no use any more"


def test_the_foreground_casts_its_shadow(folders: tuple[RenderFolder, SceneFolder]) -> None:
    """Points between the background and its light take light away, and nothing else."""
    render, scene = folders
    write_lit(render, scene, ignore_step)
    without = read_rgb(render.file("lit", 2))
    around = np.random.default_rng(0).uniform(-3, 3, (40_000, 3))
    render.write_surface(
        2, (around * (1, 1, 0) + (0, 0, 3.5)).astype(np.float32)
    )  # up is z, away from the camera
    write_lit(render, scene, ignore_step)
    shaded = read_rgb(render.file("lit", 2))
    assert (shaded <= without).all() and (shaded < without).any()


def test_the_light_of_another_view_cannot_be_known(
    folders: tuple[RenderFolder, SceneFolder], tmp_path: Path
) -> None:
    render, scene = folders
    assert no_light(scene) is None
    other = tmp_path / "moved"
    write_photo_scene(other, scene.photo(), 4, moved=True)
    bare = shutil.copytree(scene.path, tmp_path / "bare")
    (bare / "photo.png").unlink()
    for folder in (other, bare):
        assert "no photo of frame 1's own view" in str(no_light(SceneFolder(folder)))
    write_rgb(scene.photo_file, np.zeros((16, 24, 3), dtype=np.uint8))
    assert str(no_light(scene)).endswith("photo.png is 24x16 but the render 48x32")
    with pytest.raises(InputError, match=r"no frames under the photo's light.*choose render\.light=flat"):
        render.passes([1], "lit")
