"""A finished variant as a picture that moves, and as a sheet."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from i2v3d.artifacts.folders import frame_name
from i2v3d.cli import main
from i2v3d.images import write_rgb

FRAMES, HEIGHT, WIDTH = 5, 32, 48


@pytest.fixture
def variant(tmp_path: Path) -> Path:
    """True frames are red, coarse ones green, generated ones blue; all get brighter."""
    folder = tmp_path / "results" / "demo" / "base"
    parts = ("stages/scene/truth/photo", "stages/render/rgb", "frames")
    for channel, part in enumerate(parts):
        (folder / part).mkdir(parents=True)
        for number in range(1, FRAMES + 1):
            picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            picture[..., channel] = 50 * number
            write_rgb(folder / part / frame_name(number), picture)
    (folder / "metrics.json").write_text('{"fps": 8}')
    return folder


@pytest.mark.parametrize("suffix", ["webp", "gif"])
def test_a_loop_shows_all_three_forth_and_back(variant: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"loop.{suffix}"
    assert main(["loop", str(variant), str(out), "--size", "48"]) == 0
    with Image.open(out) as picture:
        assert picture.info["loop"] == 0
        pictures, pauses = [], []
        for frame in ImageSequence.Iterator(picture):
            pictures.append(np.asarray(frame.convert("RGB")).astype(int))
            pauses.append(frame.info["duration"])  # known once the frame is read
    assert sum(pauses) == pytest.approx(125 * (2 * FRAMES - 2 + 8), rel=0.05)  # GIF counts in hundredths
    # The middle of each panel has its own colour, true on the left; brightness rises and falls again.
    middle = [[frame[frame.shape[0] // 2 + 8][x] for x in (40, 94, 148)] for frame in pictures]
    assert [int(np.argmax(colour)) for colour in middle[0]] == [0, 1, 2]
    levels = [frame[2][2] for frame in middle]
    top = int(np.argmax(levels))
    assert np.all(np.diff(levels[: top + 1]) >= -3) and np.all(np.diff(levels[top:]) <= 3)
    assert max(levels) > 230 and min(levels) < 70


def test_a_sheet_has_a_row_each(variant: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "sheet.png"
    assert main(["loop", str(variant), str(out), "--columns", "3", "--size", "48"]) == 0
    sheet = np.asarray(Image.open(out).convert("RGB"))
    assert [(sheet[..., channel] == 250).any() for channel in range(3)] == [True] * 3
    assert sheet.shape[0] > 3 * HEIGHT and sheet.shape[1] > 3 * WIDTH


def test_variants_of_one_shot_stand_together(
    variant: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(variant, variant.with_name("single_stage")))
    again = Path(shutil.copytree(variant, tmp_path / "results" / "again" / "base"))
    for number in range(1, FRAMES + 1):
        white = np.full((HEIGHT, WIDTH, 3), 50 * number, np.uint8)
        for folder in (other, again):
            write_rgb(folder / "frames" / frame_name(number), white)
    out = tmp_path / "both.png"
    for second in (other, again):
        assert main(["loop", str(variant), str(second), str(out), "--size", "48"]) == 0
        sheet = np.asarray(Image.open(out).convert("RGB")).astype(int)
        last = sheet[:, -WIDTH // 2]  # through the last frames, which are the brightest
        rows = {tuple(colour) for colour in last}
        assert {(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 250)} <= rows
    (other / "frames" / frame_name(FRAMES)).unlink()
    assert main(["loop", str(variant), str(other), str(out)]) == 2
    assert f"{other} has 4 frames and {variant} 5; name variants of one shot" in capsys.readouterr().err


def test_what_is_no_finished_variant_is_refused(
    variant: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["loop", str(tmp_path), str(tmp_path / "x.webp")]) == 2
    assert "name results/RUN/VARIANT" in capsys.readouterr().err
    assert main(["loop", str(variant), str(tmp_path / "x.mp4")]) == 2
    assert "is neither a loop nor a sheet" in capsys.readouterr().err
