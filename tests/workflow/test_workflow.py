"""The graph as users run it: what is planned, cached, resumed and refused."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from i2v3d.errors import I2V3DError
from i2v3d.images import read_rgb, read_video
from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.plan import make_plan
from i2v3d.workflow.preflight import check_plan
from tests.support.checkout import QUICK, ROOT, make_checkout, planned_folders, planned_jobs, snakemake
from tests.support.sweeps import CHANGED

IN_SEGMENTS = ("interpolation_inversion", "interpolate")
ALL_STAGES = {
    "scene": 1,
    "render": 1,
    "views": 1,
    "lora": 1,
    "keyframe_inversion": 1,
    "keyframes": 1,
    "interpolation_inversion": 2,
    "interpolate": 2,
    "assemble": 1,
    "evaluate": 1,
    "variant": 1,
    "comparison": 1,
}


@pytest.mark.slow
def test_a_fresh_dry_run_plans_every_stage_once(tmp_path: Path) -> None:
    folder = make_checkout(tmp_path / "checkout")
    plan = snakemake(folder, "-n", overrides=QUICK)
    assert plan.returncode == 0, plan.stdout
    assert planned_jobs(plan.stdout) == ALL_STAGES


@pytest.mark.slow
def test_jobs_of_a_run_are_forked_from_one_process(finished: Path) -> None:
    """Whose end is the run's."""
    assert re.fullmatch(
        r"imports and jobs: \d+ s of CPU time\n", (finished / "results/.cache/log/warm.log").read_text()
    )


@pytest.mark.slow
def test_a_run_ends_with_everything_a_user_gets(finished: Path) -> None:
    results = finished / "results" / "demo" / "base"
    video = read_video(results / "video.mp4")
    assert video.shape == (15, 64, 96, 3)
    assert read_video(results / "coarse.mp4").shape == video.shape
    assert read_video(results / "side_by_side.mp4").shape == (15, 64, 192, 3)
    assert sorted(p.name for p in (results / "keyframes").glob("*.png")) == [
        "0001.png",
        "0008.png",
        "0015.png",
    ]
    assert read_rgb(results / "contact_sheet.png").std() > 1
    record = json.loads((results / "provenance.json").read_text())
    assert {"versions", "weights", "files_sha256", "seed", "keys", "stages"} <= set(record)
    assert len(record["stages"]) == sum(ALL_STAGES.values()) - 2
    assert all(stage["wall_s"] > 0 and stage["peak_memory_mb"] > 0 for stage in record["stages"])
    assert "guidance" in (results / "config.yaml").read_text()
    metrics = json.loads((results / "metrics.json").read_text())
    assert metrics["scores"]["video"]["warping_error"] > 0 and metrics["seams"] == [8]
    assert "psnr" in metrics["skipped"], "nobody knows the true video of a photo"
    rows = (results / "metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + 15 + 3 + 15 and rows[0].startswith("clip,frame,keyframe,")


def expected_folders(keys: Mapping[str, str], jobs: Mapping[str, int]) -> set[str]:
    """STAGE/KEY of a variant's jobs, with the segments of those that have some."""
    return {
        f"{stage}/{keys[stage]}" + (f"/segment_{number:03d}" if stage in IN_SEGMENTS else "")
        for stage, count in jobs.items()
        for number in range(count)
    }


@pytest.mark.slow
def test_a_changed_value_re_runs_what_depends_on_it_only(finished: Path) -> None:
    """All changes in one sweep, asked of snakemake at once."""
    plan = snakemake(finished, "-n", overrides=QUICK, settings={"sweep": "changed"})
    assert plan.returncode == 0, plan.stdout
    keys = {}
    for path in (finished / "results/.cache/plan/variants").glob("*.json"):
        planned = json.loads(path.read_text())
        keys[planned["name"]] = planned["keys"]
    folders = planned_folders(plan.stdout)
    for name, (_, jobs) in CHANGED.items():
        own = {f"{stage}/{key}" for stage, key in keys[name].items()}
        found = {folder for folder in folders if "/".join(folder.split("/")[:2]) in own}
        assert found == expected_folders(keys[name], jobs), name
    every = Counter(stage for _, jobs in CHANGED.values() for stage in jobs for _ in range(jobs[stage]))
    assert planned_jobs(plan.stdout) == every | {"variant": len(CHANGED), "comparison": 1}


@pytest.mark.slow
def test_what_changes_no_result_re_runs_no_stage(finished: Path) -> None:
    plan = snakemake(finished, "-n", overrides=[*QUICK, "runtime.max_batch=1", "tracking.project=other"])
    assert plan.returncode == 0, plan.stdout
    assert planned_jobs(plan.stdout) == {"variant": 1, "comparison": 1}


@pytest.mark.slow
def test_a_sweep_shares_what_its_variants_have_in_common(finished: Path) -> None:
    plan = snakemake(finished, "-n", overrides=QUICK, settings={"sweep": "injection"})
    assert plan.returncode == 0, plan.stdout
    assert planned_jobs(plan.stdout) == {
        "keyframes": 2,
        "interpolate": 4,
        "assemble": 2,
        "evaluate": 2,
        "variant": 2,
        "comparison": 1,
    }


@pytest.mark.slow
def test_the_launcher_equals_snakemake_and_nothing_runs_twice(finished: Path) -> None:
    launched = subprocess.run(
        [sys.executable, "-m", "i2v3d", *QUICK, "--", "-n"], cwd=finished, capture_output=True, text=True
    )
    assert "Nothing to be done" in launched.stdout + launched.stderr


@pytest.mark.slow
def test_report_and_graph_are_written(finished: Path) -> None:
    report = snakemake(finished, "--report", "report.html", overrides=QUICK)
    assert report.returncode == 0, report.stdout
    html = (finished / "report.html").read_text()
    assert "generated video" in html
    graph = snakemake(finished, "--dag", overrides=QUICK)
    assert "digraph" in graph.stdout


@pytest.fixture(scope="module")
def resumed(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[Path, int]]:
    """Another checkout, whose run was killed at its keyframes and went on: folder, and what was finished by then.

    The scene's stages and the inversions, which come before and take no part, are the finished run's. At once with
    snakemake dies all that works in its folder.
    """
    folder = make_checkout(tmp_path_factory.mktemp("resumed") / "checkout")
    cache = folder / "results" / ".cache"
    for name in ("plan", "scene", "render", "views", "keyframe_inversion", "interpolation_inversion"):
        shutil.copytree(finished / "results" / ".cache" / name, cache / name)
    words = ["-m", "snakemake", "--cores", "1", "--config", f"overrides={' '.join(QUICK)}"]
    null = subprocess.DEVNULL
    with subprocess.Popen([sys.executable, *words], cwd=folder, stdout=null, stderr=null):
        _wait_until(lambda: any((cache / "keyframes").glob(".*.tmp-*")), 600)
        finished_before = {p: p.stat().st_mtime_ns for p in cache.glob("*/*/stage.json")}
        killed = _kill_all_in(folder)
    assert any("snakemake" in words for words in killed) and any("keyframes" in words for words in killed)
    assert snakemake(folder, "--unlock", overrides=QUICK).returncode == 0
    done = snakemake(folder, "--rerun-incomplete", overrides=QUICK)
    assert done.returncode == 0, done.stdout[-5000:]
    return folder, finished_before


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_stopped(resumed: tuple[Path, dict[Path, int]]) -> None:
    _, finished_before = resumed
    assert {p.parts[-3] for p in finished_before} >= {"lora", "scene", "keyframe_inversion"}
    assert {p: p.stat().st_mtime_ns for p in finished_before} == finished_before


@pytest.mark.slow
def test_equal_seeds_give_identical_frames_in_fresh_processes(
    finished: Path, resumed: tuple[Path, dict[Path, int]]
) -> None:
    """Training, keyframes and interpolation of either run are processes of their own, and one was killed on the way."""
    first, second = (read_video(f / "results/demo/base/video.mp4") for f in (finished, resumed[0]))
    assert np.array_equal(first, second)


def _kill_all_in(folder: Path) -> list[list[str]]:
    """Kills the processes that work in a folder, some of which end with others. Returns their words."""
    found = [p for p in psutil.process_iter(["cwd", "cmdline"]) if p.info["cwd"] == str(folder.resolve())]
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return [process.info["cmdline"] for process in found]


def _wait_until(ready: object, seconds: float) -> None:
    assert callable(ready)
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "the run did not get that far"
        time.sleep(0.1)


def _own_scene(folder: Path, photo: str = "photo.png", mask: str | None = None) -> list[str]:
    return [
        "scene=coffee",
        f"scene.photo={folder / photo}",
        f"scene.mask={folder / mask if mask else 'null'}",
    ]


def bad_inputs(folder: Path) -> dict[str, tuple[list[str], str]]:
    """name -> (Hydra words, what the message must say)."""
    photo = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(photo).save(folder / "photo.png")
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "empty.png").write_bytes(b"")
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(folder / "small_mask.png")
    Image.fromarray(np.zeros((64, 96), np.uint8)).save(folder / "empty_mask.png")
    Image.fromarray(np.full((64, 96), 255, np.uint8)).save(folder / "full_mask.png")
    return {
        "unreadable photo": (_own_scene(folder, "broken.png"), "broken.png"),
        "empty photo": (_own_scene(folder, "empty.png"), "empty.png"),
        "missing photo": (_own_scene(folder, "none.png"), "none.png"),
        "mask of another size": (_own_scene(folder, mask="small_mask.png"), "96"),
        "empty mask": (_own_scene(folder, mask="empty_mask.png"), "empty_mask.png"),
        "full mask": (_own_scene(folder, mask="full_mask.png"), "full_mask.png"),
        "unknown scene": (["scene=cofee"], "did you mean 'coffee'"),
        "unknown models": (["models=minj"], "did you mean 'mini'"),
        "unknown option": (["keyframes.stpes=3"], "did you mean 'steps'"),
        "wrong type": (["keyframes.steps=many"], "keyframes.steps"),
        "out of range": (["keyframes.tau_conv=1.5"], "keyframes.tau_conv"),
        "animation beyond the shot": (["scene=coffee", "scene.camera.moves.0.end_frame=99"], "99"),
        "frames that do not fit": (["scene.frames=14"], "use 8 or 15"),
        "size that does not fit": (["scene.width=200"], "scene.width is 200"),
        "missing weights": (["models.image.base.source=weights/none"], "weights/none"),
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout beside the bad files."""
    return make_checkout(tmp_path_factory.mktemp("bad") / "checkout")


CASES = (
    "unreadable photo",
    "empty photo",
    "missing photo",
    "mask of another size",
    "empty mask",
    "full mask",
    "unknown scene",
    "unknown models",
    "unknown option",
    "wrong type",
    "out of range",
    "animation beyond the shot",
    "frames that do not fit",
    "size that does not fit",
    "missing weights",
)


@pytest.mark.parametrize("case", CASES)
def test_planning_refuses_bad_input(
    place: Path, case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    words, message = bad_inputs(place.parent)[case]
    with pytest.raises(I2V3DError) as refused:
        variants = compose_variants(ROOT / "conf", words)
        check_plan(make_plan(variants, Fingerprints(tmp_path / "memo.json")), tmp_path / "cache")
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("case", ["unknown option", "missing weights"])
def test_bad_input_stops_before_any_work_with_one_line(place: Path, case: str) -> None:
    """One mistake that composing finds and one that the check of the plan finds."""
    words, message = bad_inputs(place.parent)[case]
    refused = snakemake(place, overrides=words)
    assert refused.returncode != 0
    # After snakemake's greeting.
    said = refused.stdout[refused.stdout.index("Building DAG of jobs...\n") :].splitlines()[1:]
    assert len(said) == 1 and said[0].startswith("i2v3d: error: "), refused.stdout
    assert message in said[0]
    assert not any((place / "results" / ".cache").glob("*/*/stage.json"))
