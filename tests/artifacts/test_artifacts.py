"""Frame numbers, and finished folders that appear in one piece."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from i2v3d.artifacts.folders import (
    check_clip_frames,
    frame_name,
    keyframe_numbers,
    list_frames,
    publish,
    require,
    segment_frame_numbers,
    segment_name,
    work_dir,
)
from i2v3d.errors import ArtifactError, ConfigError


def test_keyframes_share_the_frame_between_two_segments() -> None:
    keyframes = keyframe_numbers(31, 16)
    assert keyframes == [1, 16, 31]
    first, second = (segment_frame_numbers(keyframes, s) for s in (0, 1))
    assert (len(first), len(second)) == (16, 16)
    assert set(first) & set(second) == {16}
    assert sorted({*first, *second}) == list(range(1, 32))


@pytest.mark.parametrize(
    ("frames", "told"),
    [(16, "use 13 or 17"), (18, "use 17 or 21"), (80, "use 77 or 81"), (1, "use 5"), (4, "use 5")],
)
def test_lengths_that_a_video_model_would_round_are_refused(frames: int, told: str) -> None:
    with pytest.raises(ConfigError, match=f"segment_frames is {frames},.*4k\\+1; {told}$"):
        check_clip_frames(frames, 4)


def test_lengths_of_a_video_model_pass() -> None:
    for frames in (5, 17, 33, 81):
        check_clip_frames(frames, 4)


@pytest.mark.parametrize(
    ("frames", "hint"), [(30, "use 16 or 31"), (17, "use 16 or 31"), (5, "use 16"), (1, "use 16")]
)
def test_lengths_that_do_not_fit_name_the_nearest_that_do(frames: int, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        keyframe_numbers(frames, 16)


def test_a_folder_is_published_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "stage" / "key"
    with publish(out) as folder:
        (folder / "a").write_text("1")
        work_dir(out).mkdir()
        assert not out.exists()
    assert (out / "a").read_text() == "1"
    assert not work_dir(out).exists()

    with pytest.raises(RuntimeError, match="boom"), publish(tmp_path / "stage" / "other") as folder:
        (folder / "a").write_text("half")
        raise RuntimeError("boom")
    assert [p.name for p in (tmp_path / "stage").iterdir()] == ["key"]


def test_the_first_of_two_equal_results_stays(tmp_path: Path) -> None:
    out = tmp_path / "key"
    with publish(out) as late:
        (late / "who").write_text("late")
        early = tmp_path / "early"
        early.mkdir()
        (early / "who").write_text("early")
        early.rename(out)
    assert (out / "who").read_text() == "early"
    assert [p.name for p in tmp_path.iterdir()] == ["key"]


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = tmp_path / f".key.tmp-{platform.node()}-{gone.pid}"
    alive = tmp_path / f".key.tmp-{platform.node()}-{os.getppid()}"
    elsewhere = tmp_path / ".key.tmp-another.machine-1"
    for folder in (left, alive, elsewhere):
        folder.mkdir()
    with publish(tmp_path / "key"):
        pass
    assert (left.exists(), alive.exists(), elsewhere.exists()) == (False, True, True)


def test_published_files_are_as_readable_as_their_folder(tmp_path: Path) -> None:
    with publish(tmp_path / "key") as folder:
        (folder / "weights").write_text("1")
        (folder / "weights").chmod(0o600)
    readable = (tmp_path / "key").stat().st_mode & 0o444
    assert (tmp_path / "key" / "weights").stat().st_mode & 0o444 == readable


def test_an_empty_folder_made_beforehand_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir()
    with publish(tmp_path / "key") as folder:
        (folder / "a").write_text("1")
    assert (tmp_path / "key" / "a").is_file()


def test_unwritable_places_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot write"), publish(tmp_path / "file" / "key"):
        pass


def test_names_and_listings(tmp_path: Path) -> None:
    assert (frame_name(31), frame_name(2, "exr"), segment_name(3)) == ("0031.png", "0002.exr", "segment_003")
    with pytest.raises(ArtifactError, match="no png frames"):
        list_frames(tmp_path)
    for number in (10, 2):
        (tmp_path / frame_name(number)).touch()
    (tmp_path / "sheet.png").touch()
    assert list_frames(tmp_path) == [2, 10]
    require(tmp_path, "0002.png")
    with pytest.raises(ArtifactError, match=r"lacks 0003\.png"):
        require(tmp_path, "0002.png", "0003.png")
