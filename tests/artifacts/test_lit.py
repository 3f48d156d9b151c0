"""Coarse pictures under the photo's light: from which files, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from i2v3d.artifacts.lit import read_lit
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.errors import InputError
from i2v3d.images import read_rgb, write_rgb
from i2v3d.toy.moving_disc import write_moving_disc
from tests.support.photo_scenes import write_photo_scene


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A render, and a scene whose photo is its first frame with half the light."""
    render, scene = tmp_path / "render", tmp_path / "scene"
    write_moving_disc(render, frames=4, height=32, width=48)
    first = RenderFolder(render).rgb(1)
    photo = np.rint(((first / 255.0) ** 2.2 / 2) ** (1 / 2.2) * 255).astype(np.uint8)
    write_photo_scene(scene, photo, 4)
    return render, scene


def test_frames_take_the_light_of_the_photo(folders: tuple[Path, Path]) -> None:
    render, scene = folders
    made = read_lit(render, scene, [1, 3])
    assert made.shape == (2, 32, 48, 3) and made.dtype == np.uint8
    seen = RenderFolder(render).visible(1)
    assert np.abs(made[0].astype(int) - read_rgb(scene / "photo.png"))[seen].max() <= 3
    third = RenderFolder(render).rgb(3)
    assert (made[1][third.max(-1) > 40].mean() / third[third.max(-1) > 40].mean()) == pytest.approx(
        0.5 ** (1 / 2.2), abs=0.03
    )


def test_no_photo_of_the_first_view_says_what_to_choose(folders: tuple[Path, Path], tmp_path: Path) -> None:
    render, scene = folders
    other = tmp_path / "moved"
    write_photo_scene(other, read_rgb(scene / "photo.png"), 4, moved=True)
    bare = shutil.copytree(scene, tmp_path / "bare")
    (bare / "photo.png").unlink()
    for folder in (other, bare):
        with pytest.raises(InputError, match=r"no photo of frame 1's own view.*choose light=flat"):
            read_lit(render, folder, [1])


def test_a_photo_of_another_size_is_named(folders: tuple[Path, Path]) -> None:
    render, scene = folders
    write_rgb(scene / "photo.png", np.zeros((16, 24, 3), dtype=np.uint8))
    with pytest.raises(InputError, match=r"photo\.png is 24x16 but the render 48x32"):
        read_lit(render, scene, [1])
