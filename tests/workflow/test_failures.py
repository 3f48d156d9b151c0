"""A variant that fails is named with its stage and reason, and the others still finish."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2v3d.workflow.failures import Failure, find_failures, read_failures, write_failures
from i2v3d.workflow.plan import PlannedVariant
from tests.support.checkout import QUICK, snakemake

FAILED = """\
2026-01-02 03:04:05,678 INFO i2v3d.workflow.runner: start
2026-01-02 03:04:06,678 DEBUG i2v3d: failed: error: too small
Traceback (most recent call last):
  raise ShapeError("too small")
i2v3d.errors.ShapeError: too small
2026-01-02 03:04:06,700 WARNING wandb: late
"""
KEYS = {"scene": "a" * 12, "interpolation_inversion": "b" * 12, "assemble": "c" * 12}


def variant(name: str, **keys: str) -> PlannedVariant:
    return PlannedVariant(name, (), {}, KEYS | keys, segments=2)


def finish(cache: Path, *folders: str) -> None:
    for folder in folders:
        (cache / folder).mkdir(parents=True)


def write_log(cache: Path, name: str, text: str) -> None:
    path = cache / "log" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_failure_is_the_first_unfinished_job_that_left_a_log(tmp_path: Path) -> None:
    b = KEYS["interpolation_inversion"]
    finish(tmp_path, f"scene/{KEYS['scene']}", f"interpolation_inversion/{b}/segment_000")
    write_log(tmp_path, f"scene/{KEYS['scene']}.log", "fine\n")
    write_log(tmp_path, f"interpolation_inversion/{b}-001.log", FAILED)
    (failure,) = find_failures([variant("one")], tmp_path)
    assert (failure.variant, failure.stage) == ("one", "interpolation_inversion segment 1")
    assert failure.reason == "too small"
    assert failure.log == str(tmp_path / "log" / "interpolation_inversion" / f"{b}-001.log")


def test_what_never_started_and_what_said_nothing_is_told(tmp_path: Path) -> None:
    write_log(tmp_path, f"scene/{'d' * 12}.log", "2026-01-02 03:04:05,678 INFO i2v3d.workflow.runner: start")
    silent, waiting = find_failures([variant("silent", scene="d" * 12), variant("waiting")], tmp_path)
    assert (silent.stage, silent.reason) == ("scene", "was killed or left no word")
    assert (waiting.stage, waiting.reason) == ("scene", "was not started")


def test_finished_variants_are_no_failures_and_an_old_list_goes(tmp_path: Path) -> None:
    b = KEYS["interpolation_inversion"]
    folders = [f"scene/{KEYS['scene']}", f"assemble/{KEYS['assemble']}"]
    finish(tmp_path, *folders, *(f"interpolation_inversion/{b}/segment_00{n}" for n in (0, 1)))
    assert find_failures([variant("one")], tmp_path) == []
    results, failure = tmp_path / "results", Failure("one", "scene", 'said "no", twice', "x.log")
    write_failures([failure], results)
    assert read_failures(results) == [failure]
    write_failures([], results)
    assert read_failures(results) == []


@pytest.mark.slow
def test_the_others_finish_and_the_failed_variant_is_shown_as_failed(finished: Path) -> None:
    """A run of its own on the finished run's cache: of its two variants one lacks two jobs, one cannot be made."""
    words = [*QUICK, "run=half"]
    ran = snakemake(finished, "--keep-going", overrides=words, settings={"sweep": "half"})
    assert ran.returncode != 0
    assert "2 variants need" in ran.stdout
    results = finished / "results" / "half"
    assert (results / "coarse" / "video.mp4").is_file()
    assert (results / "coarse" / "metrics.json").is_file()
    assert not (results / "hopeless" / "video.mp4").exists()
    (failure,) = read_failures(results)
    assert (failure.variant, failure.stage) == ("hopeless", "scene")
    assert "scene.camera never sees the foreground" in failure.reason
    assert "Traceback" in (finished / failure.log).read_text(), "the log has the rest"
    assert "Traceback" not in ran.stdout, "the user sees one line"
    assert "i2v3d: variant hopeless has no result: scene" in ran.stdout
    assert "1 of 2 variants are finished" in ran.stdout
