"""A run that has finished, looked at on the studio's page in a real browser."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from tests.support.checkout import QUICK

if TYPE_CHECKING:
    from tests.studio.page.opened import Opened

pytestmark = [pytest.mark.studio, pytest.mark.slow]
RUN = "demo/base"


def _chosen(studio: Opened) -> None:
    """Shows the finished run, by a click on its tile."""
    studio.tab("Results")
    studio.page.locator(f"[data-tile='{RUN}']").click()
    studio.until(lambda: studio.value("variant") == RUN)


def test_films_keyframes_and_the_comparison_page_of_a_run_are_seen(studio: Opened) -> None:
    _chosen(studio)
    films = studio.page.frame_locator(f"iframe[data-films='{RUN}']")
    films.locator("video").nth(3).wait_for()
    assert films.locator("figcaption").all_inner_texts() == ["coarse", "generated", "depth", "mask"]
    studio.page.locator("[data-keyframe='8']").click()
    studio.until(lambda: studio.desk.index == 7)
    films.locator("body[data-index='7']").wait_for()
    studio.page.get_by_text("scores", exact=True).click()
    studio.page.get_by_role("cell", name="scores.video.warping_error").wait_for()
    studio.press("Comparison page")
    page = studio.page.frame_locator("iframe[data-comparison='demo']")
    page.locator("video").first.wait_for()
    studio.press("Close the comparison page")
    studio.page.locator("iframe[data-comparison]").wait_for(state="detached")


def test_the_settings_of_a_run_are_used_again(studio: Opened) -> None:
    studio.tab("Camera")
    studio.press("Key from this view")
    studio.until(lambda: studio.scene["camera"].get("keys"))
    keyed = studio.text
    studio.tab("Run")
    studio.fill("options", shlex.join([*QUICK, "seed=3"]))
    studio.until(lambda: studio.desk.session.config["seed"] == 3)
    _chosen(studio)
    studio.press("Use these settings")
    studio.until(lambda: studio.desk.session.scene["camera"]["keys"] == [])
    assert studio.desk.session.words == QUICK and studio.desk.session.config["seed"] == 0
    assert [move["kind"] for move in studio.desk.session.scene["camera"]["moves"]] == ["orbit", "dolly"]
    studio.tab("Run")
    studio.until(lambda: studio.field("options").input_value() == shlex.join(QUICK))
    studio.press("↶ undo")
    studio.until(lambda: studio.text == keyed)
