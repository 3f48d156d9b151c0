"""Runs that the page starts: their progress as a log says it, cancelling, and another process that looks."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from i2v3d.errors import ConfigError
from i2v3d.studio import work as studio_work
from i2v3d.studio.run_tab import check_words
from i2v3d.studio.work import Work, read_progress

LOG = """Building DAG of jobs...
job        count
-------  -------
scene          1
total          8

localrule x:
rule scene:
1 of 8 steps (12%) done
rule render:
render coffee:  40%|####      | 6/15 [00:03<00:04,  2.00frame/s]
"""
RECORD = {"kind": "generate", "run": "mug", "pid": 1, "born": 0.0, "began": 100.0}


def test_progress_is_read_from_the_log() -> None:
    now = read_progress(RECORD, LOG, True, 130.0)
    assert (now.state, now.stage, now.done, now.total, now.bar) == ("running", "render", 1, 8, 0.4)
    assert now.share == pytest.approx(1.4 / 8) and now.elapsed_s == 30.0
    assert now.left_s == pytest.approx(30 * 6.6 / 1.4)
    assert now.line.startswith("render coffee:  40%")
    early = read_progress(RECORD, "Building DAG of jobs...\n", True, 130.0)
    assert (early.done, early.total, early.bar, early.left_s) == (0, 0, None, None)


def test_an_end_is_told_in_one_line() -> None:
    failed = (
        LOG + "i2v3d: error: photo x.jpg is empty; choose another\nExiting because a job execution failed.\n"
    )
    ended = {**RECORD, "ended": 140.0}
    now = read_progress({**ended, "status": 1}, failed, False, 999.0)
    assert (now.state, now.error, now.elapsed_s) == ("failed", "photo x.jpg is empty; choose another", 40.0)
    assert read_progress({**ended, "status": 0}, LOG, False, 999.0).share == 1.0
    assert read_progress({**ended, "status": 1, "cancelled": True}, LOG, False, 999.0).state == "cancelled"


def _program(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> Work:
    """A work whose program is another one: what is started, watched and stopped is real."""
    script = folder / "program.sh"
    script.write_text(f"#!/bin/sh\n{code}\n")
    script.chmod(0o755)
    monkeypatch.setattr(studio_work.sys, "executable", str(script))
    return Work(folder, folder / "own")


def _until_ended(work: Work) -> studio_work.Progress:
    end = time.monotonic() + 20
    while (now := work.progress()).state == "running" and time.monotonic() < end:
        time.sleep(0.02)
    return now


def test_a_run_is_started_with_the_words_of_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = _program(monkeypatch, tmp_path, 'echo "$@"; echo "3 of 3 steps (100%) done"')
    assert work.progress().state == "idle"
    work.start("preview", "mug", ["scene=mug", "seed=1"])
    now = _until_ended(work)
    assert (now.state, now.kind, now.run, now.share) == ("finished", "preview", "mug", 1.0)
    assert work.log.read_text().startswith("-m i2v3d preview scene=mug seed=1 run=mug")


def test_a_failed_run_leaves_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = _program(monkeypatch, tmp_path, "echo 'i2v3d: error: no such thing; choose another'; exit 2")
    work.start("generate", "mug", [])
    assert _until_ended(work).error == "no such thing; choose another"


def test_cancelling_ends_everything_that_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio_work, "STOPS", tuple((s, 1.0) for s, _ in studio_work.STOPS))
    code = "sleep 600 & echo $! > child; echo started; trap '' INT; while :; do sleep 0.05; done"
    work = _program(monkeypatch, tmp_path, f"cd {tmp_path}; {code}")
    work.start("generate", "mug", [])
    with pytest.raises(ConfigError, match="under way"):
        work.start("generate", "other", [])
    while "started" not in work.log.read_text():
        time.sleep(0.02)
    beside = Work(tmp_path, tmp_path / "own")  # a studio that was started anew
    assert beside.progress().state == "running"
    work.cancel()
    assert work.progress().state == beside.progress().state == "cancelled"
    child = int((tmp_path / "child").read_text())
    time.sleep(0.1)
    assert not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]


@pytest.mark.parametrize(
    "word",
    ["-s", "--snakefile=x", "scene=other", "run=../x", "hydra.run.dir=/", "seed=${oc.env:HOME}", "seed",
     "scene.foreground.generator.command=sh", "scene.foreground.generator={command:sh}"],
)  # fmt: skip
def test_words_of_the_page_are_options_only(word: str) -> None:
    with pytest.raises(ConfigError):
        check_words([word])


def test_words_that_are_options_pass() -> None:
    check_words(["seed=1", "experiment=quick", "interpolate.segment_seeds={1:7}", "+x.y=[1,2]"])


def test_names_of_runs_stay_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Work(tmp_path, tmp_path / "own").start("preview", "../elsewhere", [])
