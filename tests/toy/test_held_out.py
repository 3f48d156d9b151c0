"""Held-out clips: what moves in them, a balanced choice, and views that turn by a given angle."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from i2v3d.benchmark.settings import BenchmarkSettings, load_settings
from i2v3d.errors import ConfigError
from i2v3d.toy.world.clips import describe, held_out_clip, motion, turned
from i2v3d.toy.world.held_out import (
    HELD_OUT_CLIPS,
    balanced_clips,
    chosen_clips,
    held_out_caption,
    list_path,
    read_list,
    write_list,
)
from i2v3d.toy.world.sampling import Scenes, captions
from tests.support.checkout import ROOT

SEED, VARIANTS = 2026, 512


def clip(index: int, frames: int = 5) -> Scenes:
    return held_out_clip(SEED, VARIANTS, index, frames)


def still(scenes: Scenes, *names: str) -> Scenes:
    """The clip with these tracks held at their first frame."""
    return scenes._replace(
        **{name: getattr(scenes, name)[:, :1].expand_as(getattr(scenes, name)) for name in names}
    )


def test_the_list_says_what_the_clips_are() -> None:
    listed = read_list(SEED, VARIANTS)
    assert len(listed) == HELD_OUT_CLIPS
    for index in (*range(0, HELD_OUT_CLIPS, 59), HELD_OUT_CLIPS - 1):
        assert listed[index] == describe(SEED, VARIANTS, index), f"list clip {index} anew"
        assert held_out_caption(SEED, VARIANTS, index) == captions(clip(index, 1))[0]


def test_a_written_list_is_the_one_that_was_read(tmp_path: Path) -> None:
    write_list(read_list(SEED, VARIANTS), tmp_path / "list.csv")
    assert (tmp_path / "list.csv").read_bytes() == list_path(SEED, VARIANTS).read_bytes()


def test_clips_of_a_world_without_a_list_are_drawn() -> None:
    assert not list_path(7, 40).exists()
    assert held_out_caption(7, 40, 3) == captions(held_out_clip(7, 40, 3, 1))[0]
    with pytest.raises(ConfigError, match="from 0 to 999"):
        held_out_caption(SEED, VARIANTS, HELD_OUT_CLIPS)


def test_the_listed_world_is_described_without_torch() -> None:
    code = (
        "import sys; from i2v3d.toy.world.held_out import balanced_clips, held_out_caption; "
        f"[held_out_caption({SEED}, {VARIANTS}, i) for i in balanced_clips({SEED}, {VARIANTS}, 0, 3)]; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_motion_names_what_moves() -> None:
    moving = next(c for c in map(clip, range(20)) if motion(c) == "both")
    assert motion(still(moving, "eye", "target")) == "object"
    assert motion(still(moving, "place", "heading", "bend")) == "camera"
    assert motion(still(moving, "eye", "target", "place", "heading", "bend")) == "none"


def test_a_balanced_choice_has_as_many_of_each_and_is_the_beginning_of_a_larger_one() -> None:
    few, more = (balanced_clips(SEED, VARIANTS, 0, count) for count in (6, 24))
    assert sorted(few.values()) == sorted(["camera", "object", "both"] * 2)
    assert [list(more.values()).count(kind) for kind in ("camera", "object", "both")] == [8, 8, 8]
    assert set(few) <= set(more) and all(motion(clip(index)) == kind for index, kind in few.items())


def test_the_long_benchmark_travels_far_around_its_objects() -> None:
    settings = load_settings(ROOT / "conf", "benchmark", "long", BenchmarkSettings)
    assert settings.clips is not None and len(settings.clips) == settings.scenes
    frames, pace = (float(word.split("=")[1]) for word in settings.overrides)
    assert frames >= 43
    found = chosen_clips(SEED, VARIANTS, settings.clips)
    assert [list(found.values()).count(kind) for kind in ("camera", "object", "both")] == [4, 4, 4]
    for index, kind in found.items():
        scene = held_out_clip(SEED, VARIANTS, index, 9, pace)
        steps = scene.heading[0].diff() if kind == "object" else scene.azimuth[0].diff()
        swept_deg = math.degrees(abs(float(torch.atan2(steps.sin(), steps.cos()).sum())))
        assert 60 <= swept_deg <= (180 if kind == "object" else 150), index


def test_choices_that_cannot_be_made_are_refused() -> None:
    with pytest.raises(ConfigError, match="holds a number twice"):
        chosen_clips(SEED, VARIANTS, [3, 1, 3])
    with pytest.raises(ConfigError, match="use a multiple"):
        balanced_clips(SEED, VARIANTS, 0, 4)
    with pytest.raises(ConfigError, match="take fewer"):
        balanced_clips(SEED, VARIANTS, 990, 30)


def seen_from(scenes: Scenes) -> torch.Tensor:
    """(F,) angle of the object against the direction of the camera."""
    offset = (scenes.eye - scenes.target)[0]
    return scenes.heading[0] - torch.atan2(offset[:, 1], offset[:, 0])


@pytest.mark.parametrize("index", [0, 3, 7])
def test_the_view_turns_by_the_angle_whatever_the_camera_does(index: int) -> None:
    angle = seen_from(turned(clip(index), 60.0))
    change = torch.rad2deg(torch.atan2((angle - angle[0]).sin(), (angle - angle[0]).cos()))
    assert change.tolist() == pytest.approx([0, 15, 30, 45, 60], abs=1e-3)
    assert math.isclose(float(turned(clip(index), 60.0).heading[0, 0]), float(clip(index).heading[0, 0]))


def test_twice_the_pace_is_twice_the_motion_of_the_same_things() -> None:
    moved = set()
    for index in range(12):
        usual, fast = clip(index), held_out_clip(SEED, VARIANTS, index, 5, pace=2.0)
        assert torch.equal(usual.palette, fast.palette) and torch.equal(usual.target, fast.target)
        for name in ("place", "heading"):
            here, there = getattr(usual, name).diff(dim=1), getattr(fast, name).diff(dim=1)
            assert torch.allclose(there, 2 * here, atol=1e-5)
            moved |= {name} if bool(here.any()) else set()
    assert moved == {"place", "heading"}
