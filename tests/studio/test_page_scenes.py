"""A photo of one's own on the studio's page in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.studio.opened import Opened

pytestmark = [pytest.mark.studio, pytest.mark.slow]
ROOT = Path(__file__).parents[2]


def test_a_photo_becomes_a_scene(studio: Opened) -> None:
    studio.tab("Scene")
    studio.field("scene name").fill("mine")
    studio.field("what it is").fill("mug")
    studio.page.wait_for_timeout(3000)  # texts are sent a moment after they were typed
    studio.page.locator("input[type=file]").first.set_input_files(ROOT / "scenes/coffee/photo.jpg")
    studio.until(lambda: studio.desk.session.name == "mine")
    assert studio.desk.session.scene["class_name"] == "mug"
    assert (studio.folder / "scenes" / "mine" / "photo.jpg").is_file()
    studio.press("Back to the scene")
