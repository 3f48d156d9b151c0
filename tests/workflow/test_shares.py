"""A render in shares (runtime.shards): the same keys and frames, in several jobs; what is lost is made anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from i2v3d.artifacts.folders import publish, work_dir
from i2v3d.artifacts.render_folder import CoarseFrame, RenderFolder
from i2v3d.artifacts.shares import Share, finished_shares
from i2v3d.blender import api
from i2v3d.blender.report import RenderReport
from i2v3d.cli import main
from i2v3d.workflow.failures import find_failures
from i2v3d.workflow.finished import RECORD
from i2v3d.workflow.plan import Node, PlannedVariant
from i2v3d.workflow.planning import Asked, plan_run
from i2v3d.workflow.shares import SHARES, mark_share, share_marks
from tests.support.blender_scenes import HEIGHT, WIDTH, still_scene
from tests.support.checkout import QUICK, ROOT, make_checkout, planned_folders, planned_jobs, snakemake
from tests.support.jobs import RENDER_CONFIG, render_job

KEY = "0" * 12
FRAMES = 5


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_every_item_is_in_one_share_in_order_and_shares_are_even(count: int) -> None:
    shares = [Share(number, count).of(range(1, FRAMES + 1)) for number in range(1, count + 1)]
    assert [item for share in shares for item in share] == list(range(1, FRAMES + 1))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["0-of-2", "3-of-2", "1-of-0", "1", "a-of-b", "-1-of-2"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected one"):
        Share.read(text)


def test_keys_know_nothing_of_shares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    plans = [
        plan_run(Asked.read({"cache": str(tmp_path), "overrides": f"experiment=quick {word}"}, ROOT / "conf"))
        for word in ("", "runtime.shards=3")
    ]
    assert plans[0].nodes == plans[1].nodes
    assert [plan.runtime.shards for plan in plans] == [1, 3]


# ------------------------------------------------------------ what snakemake is told


def node(**config: object) -> Node:
    return Node("render", KEY, 2, RENDER_CONFIG | config, {}, {}, 1)


def test_marks_are_asked_for_until_the_render_is_finished_and_stay_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cache, out = Path("cache"), Path("cache", "render", KEY)
    wanted = [SHARES / "render" / KEY / f"{number}-of-2" for number in (1, 2)]
    assert share_marks(cache, node(), 1) == [] == share_marks(cache, node(folder="mine"), 2)
    assert share_marks(cache, node(), 2) == wanted
    Share(1, 2).folder(out).mkdir(parents=True)
    for mark in wanted:
        mark_share(mark)
    assert share_marks(cache, node(), 2) == wanted and [mark.exists() for mark in wanted] == [True, False]
    mark_share(wanted[1])
    out.mkdir()
    (out / RECORD).write_text("{}")
    shutil.rmtree(work_dir(out))
    assert share_marks(cache, node(), 1) == wanted == share_marks(cache, node(), 7)


def test_a_share_that_failed_is_the_reason_that_is_told(tmp_path: Path) -> None:
    logs = tmp_path / "log" / "render"
    logs.mkdir(parents=True)
    variant = PlannedVariant("one", (), {}, {"render": KEY}, segments=1)
    for share in ("1-of-2", "2-of-2"):
        (logs / f"{KEY}-share-{share}.log").write_text(
            f"2026-01-02 03:04:06,678 ERROR i2v3d: error: {share}\n"
        )
    Share(1, 2).folder(tmp_path / "render" / KEY).mkdir(parents=True)
    (failure,) = find_failures([variant], tmp_path)
    assert (failure.stage, failure.log) == ("render share 2-of-2", str(logs / f"{KEY}-share-2-of-2.log"))


# ------------------------------------------------------------ the jobs


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The frames that Blender was asked for, call by call; it is stood in for by flat pictures."""
    asked: list[list[int]] = []

    def render(_: Path, out: Path, *, frames, **__: object) -> RenderReport:
        asked.append(list(frames))
        report = RenderReport("a test", 1.0, wall_s=2.0)
        seen = np.ones((HEIGHT, WIDTH), bool)
        for frame in frames:
            rgb, depth_m = (
                np.full((HEIGHT, WIDTH, 3), frame, np.uint8),
                np.full((HEIGHT, WIDTH), 2, np.float32),
            )
            flow_px = np.zeros((HEIGHT, WIDTH, 2), np.float32) if frame < FRAMES else None
            RenderFolder(out).write(frame, CoarseFrame(rgb, depth_m, seen, seen, flow_px))
            row = {"frame": frame, "foreground": 9, "visible": 9, "depth_range_m": [1.5, 2.0 + frame]}
            report.frames[frame] = row | {"K": np.eye(3).tolist(), "w2c": np.eye(4).tolist()}
        return report

    monkeypatch.setattr(api, "render_frames", render)
    return asked


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A job that renders a finished scene."""
    with publish(tmp_path / "cache" / "scene" / KEY) as scene:
        still_scene(scene, (), frames=FRAMES)
    return render_job(tmp_path, {"scene": KEY}, f"cache/render/{KEY}", "log")


def test_a_render_joins_its_shares_and_makes_what_is_lost(
    words: list[str], asked_for: list[list[int]], tmp_path: Path
) -> None:
    out = tmp_path / "cache" / "render" / KEY
    for number in (1, 2, 3):
        mark = tmp_path / "marks" / f"{number}-of-3"
        assert main([*words, "--share", mark.name, "--finished", str(mark)]) == 0 and mark.is_file()
    assert asked_for == [[1], [2, 3], [4, 5]] and len(finished_shares(work_dir(out))) == 3
    RenderFolder(Share(2, 3).folder(out)).file("rgb", 2).write_bytes(b"broken")
    assert main(words) == 0
    assert asked_for[3:] == [[2, 3]] and not work_dir(out).exists()
    render = RenderFolder(out)
    render.check(FRAMES, flow=True)
    assert [int(render.rgb(frame)[0, 0, 0]) for frame in range(1, FRAMES + 1)] == list(range(1, FRAMES + 1))
    assert render.cameras().frames == tuple(range(1, FRAMES + 1)) and render.depth_range_m() == (1.5, 7.0)
    metrics = json.loads((out / "metrics.json").read_text())
    assert (metrics["frames"], metrics["renderer"], metrics["seconds_per_frame"]) == (
        FRAMES,
        "a test",
        6 / FRAMES,
    )
    assert main([*words, "--share", "1-of-2"]) == 0
    assert len(asked_for) == 4 and not work_dir(out).exists(), "the whole is there"


def test_more_shares_than_frames_leave_some_without_work(
    words: list[str], asked_for: list[list[int]]
) -> None:
    for number in range(1, 8):
        assert main([*words, "--share", f"{number}-of-7"]) == 0
    assert main(words) == 0
    assert [frame for call in asked_for for frame in call] == list(range(1, FRAMES + 1))


@pytest.mark.slow
def test_two_shares_and_one_job_make_the_same_frames(finished: Path, tmp_path: Path) -> None:
    """Two folders' caches have the same keys; a finished render is not made again because shards are other now."""
    checkout = make_checkout(tmp_path / "checkout")
    plan = snakemake(checkout, "preview", "-n", overrides=[*QUICK, "runtime.shards=2"])
    assert planned_jobs(plan.stdout)["render_share"] == 2, plan.stdout
    done = snakemake(checkout, "preview", overrides=[*QUICK, "runtime.shards=2"])
    assert done.returncode == 0, done.stdout[-5000:]
    (shared,) = checkout.glob("results/.cache/render/*")
    whole, render = (RenderFolder(folder) for folder in (finished / shared.relative_to(checkout), shared))
    frames = range(1, whole.frame_count() + 1)
    for colour in ("rgb", "lit"):
        one, other = (vars(folder.passes(frames, colour)) for folder in (whole, render))
        for name, pictures in one.items():
            np.testing.assert_array_equal(pictures, other[name], err_msg=f"{name} {colour}")
    for frame in frames[:-1]:
        np.testing.assert_array_equal(whole.flow_px(frame), render.flow_px(frame))
    assert (whole.path / "cameras.json").read_bytes() == (shared / "cameras.json").read_bytes()
    for word in ("runtime.shards=2", "runtime.shards=1", "runtime.shards=5"):
        again = snakemake(checkout, "preview", "-n", overrides=[*QUICK, word])
        assert again.returncode == 0 and not planned_folders(again.stdout), again.stdout[-3000:]
        assert "render_share" not in planned_jobs(again.stdout)
