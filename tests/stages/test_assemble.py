"""Segments become one video without a gap or a doubled frame."""

from pathlib import Path

import numpy as np
import pytest

from i2v3d.artifacts.folders import frame_name
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.artifacts.scene_spec import CameraKey, SceneSpec
from i2v3d.config.bounds import RenderLight
from i2v3d.config.interpolate import AssembleConfig, FramesOf
from i2v3d.errors import ArtifactError
from i2v3d.images import read_rgb, read_video, write_rgb
from i2v3d.stages.assemble import all_frames, assemble_video, frame_folders
from i2v3d.stages.context import StageContext

POSE = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))


def _picture(value: int) -> np.ndarray:
    return np.full((16, 32, 3), value, np.uint8)


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """Two segments of three frames; frame n is grey 20 n, its coarse render 10 n; the shared frame 3 differs."""
    folders = {name: tmp_path / name for name in ("scene", "render", "cross_fade", "interpolate")}
    (folders["render"] / "rgb").mkdir(parents=True)
    for name in ("scene", "cross_fade"):
        folders[name].mkdir()
    for number in range(1, 6):
        write_rgb(folders["render"] / "rgb" / frame_name(number), _picture(10 * number))
        RenderFolder(folders["render"]).write_lit(number, _picture(15 * number))
    for segment, numbers in enumerate([(1, 2, 3), (3, 4, 5)]):
        folder = folders["interpolate"] / f"segment_{segment:03d}"
        folder.mkdir(parents=True)
        for number in numbers:
            write_rgb(folder / frame_name(number), _picture(20 * number + segment))
    for number in range(1, 6):
        write_rgb(folders["cross_fade"] / frame_name(number), _picture(30 * number))
    camera = (CameraKey(frame=1, world_from_camera=POSE, focal_px=30.0, interpolation="LINEAR"),)
    spec = SceneSpec("x", 32, 16, 5, 8, 16.0, 8.0, camera, ())
    spec.save(folders["scene"] / "scene.json")
    return folders


def _context(folder: Path) -> StageContext:
    return StageContext(device="cpu", max_batch=0, work=folder)


def test_videos_hold_every_frame_once(inputs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assemble_video(
        AssembleConfig(frames="interpolate", light="flat", crf=5, sheet_columns=3),
        inputs,
        out,
        _context(tmp_path),
    )
    levels = read_video(out / "video.mp4").reshape(5, -1).mean(axis=1)
    assert np.abs(levels - [20, 40, 60, 80, 100]).max() < 2
    coarse = read_video(out / "coarse.mp4").reshape(5, -1).mean(axis=1)
    assert np.abs(coarse - [10, 20, 30, 40, 50]).max() < 2
    both = read_video(out / "side_by_side.mp4")
    assert both.shape == (5, 16, 64, 3)
    assert both[4, :, :28].mean() < 55 < 95 < both[4, :, 36:].mean()
    assert sorted(p.name for p in (out / "frames").iterdir()) == [frame_name(n) for n in range(1, 6)]
    assert [int(read_rgb(out / "frames" / frame_name(n))[0, 0, 0]) for n in (1, 3, 5)] == [20, 60, 101]
    sheet = read_rgb(out / "contact_sheet.png")
    assert sheet.shape == (2 * 16 + 4, 3 * 32 + 2 * 4, 3)
    assert (sheet[0, 0, 0], sheet[0, -1, 0], sheet[-1, 0, 0], sheet[-1, -1, 0]) == (10, 50, 20, 101)


@pytest.mark.parametrize(
    ("frames", "light", "step"), [("render", "flat", 10), ("render", "photo", 15), ("cross_fade", "flat", 30)]
)
def test_a_baseline_shows_its_own_frames(
    inputs: dict[str, Path], tmp_path: Path, frames: FramesOf, light: RenderLight, step: int
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assemble_video(AssembleConfig(frames, light, crf=5, sheet_columns=3), inputs, out, _context(tmp_path))
    shown = [int(read_rgb(out / "frames" / frame_name(n))[0, 0, 0]) for n in range(1, 6)]
    assert shown == [step * n for n in range(1, 6)]
    assert np.abs(read_video(out / "video.mp4").reshape(5, -1).mean(axis=1) - shown).max() < 2


def test_the_earlier_segment_shows_a_shared_frame(inputs: dict[str, Path]) -> None:
    shown = all_frames(frame_folders(inputs["interpolate"], "interpolate", "flat"), 5)
    assert shown[3].parent.name == "segment_000"
    assert list(shown) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("name", "folder"), [("interpolate", "segment_001"), ("cross_fade", ".")])
def test_a_gap_is_refused(inputs: dict[str, Path], name: str, folder: str) -> None:
    (inputs[name] / folder / frame_name(4)).unlink()
    with pytest.raises(ArtifactError, match=f"{name} lacks frame 4 of 5"):
        all_frames(frame_folders(inputs[name], name, "flat"), 5)
