"""Reading the coarse passes: arrays with units, and files that do not belong together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from i2v3d.artifacts.coarse import read_renders
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.errors import ArtifactError
from i2v3d.images import write_mask
from i2v3d.toy.moving_disc import write_moving_disc


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_moving_disc(tmp_path / "render", frames=4, height=16, width=24)
    return tmp_path / "render"


def test_passes_of_the_frames_asked_for(folder: Path) -> None:
    renders = read_renders(folder, [2, 4], "shot")
    assert renders.frames == (2, 4)
    assert renders.size == (16, 24)
    assert renders.rgb.shape == (2, 16, 24, 3)
    assert renders.visible.dtype == renders.foreground.dtype == torch.bool
    assert torch.equal(renders.depth > 0, renders.visible)
    assert (renders.depth[renders.foreground] == 1).all()  # the disc is what is nearest in the shot
    assert not torch.equal(renders.foreground[0], renders.foreground[1])


def test_every_frame_counts(folder: Path) -> None:
    assert RenderFolder(folder).frame_count() == 4
    (folder / "rgb" / "0002.png").unlink()
    with pytest.raises(ArtifactError, match=r"lacks 0002\.png"):
        RenderFolder(folder).frame_count()


def test_a_pass_of_another_size_is_named(folder: Path) -> None:
    write_mask(folder / "fg_mask" / "0003.png", np.zeros((8, 24), dtype=bool))
    with pytest.raises(ArtifactError, match=r"fg_mask/0003\.png is 24x8 but the first frame is 24x16"):
        read_renders(folder, [1, 3], "shot")
