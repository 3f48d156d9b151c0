"""Runs that are started, watched, cancelled and looked at on the studio's page in a real browser.

What the finished run made lies in the cache: only what is new has to run.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest

from i2v3d.studio.work import Work
from tests.support.checkout import QUICK

if TYPE_CHECKING:
    from tests.studio.page.opened import Opened

pytestmark = [pytest.mark.studio, pytest.mark.slow]
RUN_S = 600  # of a run, on a machine that does other things too


def _ended(studio: Opened, state: str) -> str:
    """Waits for a run's end; its log."""
    studio.page.locator(f"[data-state={state}]").wait_for(timeout=1000 * RUN_S)
    return studio.desk.work.log.read_text()


def test_a_preview_outlives_a_reload_and_its_films_follow_the_timeline(studio: Opened) -> None:
    studio.tab("Run")
    studio.press("Preview")
    studio.page.locator("[data-state=running]").wait_for()
    studio.page.reload()
    studio.page.get_by_text("every edit is saved").wait_for()
    studio.tab("Run")
    _ended(studio, "finished")
    studio.tab("Results")
    films = studio.page.frame_locator("iframe[data-films='coffee/base']")
    films.locator("video").nth(2).wait_for()
    assert films.locator("figcaption").all_inner_texts() == ["coarse", "depth", "mask"]
    studio.press("last ▶")
    films.locator("body[data-index='14']").wait_for()
    fps = studio.desk.shown.shot.fps
    studio.until(lambda: {round(t * fps - 0.5, 1) for t in _times(studio)} == {14.0})
    studio.press("▶ play")
    studio.until(lambda: len(set(_times(studio))) > 0 and min(_times(studio)) * fps < 10)
    studio.press("■ stop")


def _times(studio: Opened) -> list[float]:
    """Where the films are, in seconds."""
    frame = next(frame for frame in studio.page.frames if "/player/" in frame.url)
    found: list[float] = frame.evaluate(
        "[...document.querySelectorAll('video')].map((film) => film.currentTime)"
    )
    return found


def test_a_segment_is_generated_anew_to_the_end_of_the_run(studio: Opened) -> None:
    studio.tab("Results")
    studio.page.get_by_text("Another seed for a segment").click()
    studio.fill("segment", "1")
    studio.fill("seed", "7")
    studio.press("Redo this segment")
    studio.tab("Run")
    studio.page.locator("[data-state=running]").wait_for()
    studio.page.get_by_text(re.compile(r"[1-9] of \d+ jobs .* about .* left")).wait_for(timeout=1000 * RUN_S)
    studio.until(lambda: studio.page.get_by_text(studio.desk.work.progress().line[:30]).count(), RUN_S)
    log = _ended(studio, "finished")
    made = set(re.findall(r"^(\w+)-[0-9a-f]{12}(\S*) done in", log, re.MULTILINE))
    assert made == {("interpolate", "-segment_001"), ("assemble", ""), ("evaluate", "")}
    assert re.findall(r"^interpolate-[0-9a-f]{12}-(\S+) is the segment of", log, re.MULTILINE) == [
        "segment_000"
    ]


def test_a_run_is_cancelled(studio: Opened) -> None:
    studio.tab("Run")
    studio.fill("options", "experiment=quick seed=5 scene.width=96 scene.height=64")
    studio.until(lambda: "seed=5" in studio.desk.session.words)
    studio.press("Generate")
    studio.page.locator("[data-state=running]").wait_for()
    studio.press("Cancel")
    _ended(studio, "cancelled")
    beside = Work(studio.folder, studio.folder / "results" / ".jobs" / "studio")
    assert beside.progress().state == "cancelled"


def test_a_run_that_fails_says_why_in_one_line(studio: Opened) -> None:
    studio.tab("Run")
    studio.fill("options", shlex.join([*QUICK, "lora.rank=0"]))
    studio.until(lambda: "lora.rank=0" in studio.desk.session.words)
    studio.press("Preview")
    _ended(studio, "failed")
    error = studio.desk.work.progress().error
    assert "lora.rank" in error and "\n" not in error
    studio.page.get_by_text(error[:60]).first.wait_for()
