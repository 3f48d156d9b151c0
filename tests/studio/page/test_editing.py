"""What is written when somebody keys, drags and clicks on the studio's page in a real browser.

Needs viser (pip install 'i2v3d[studio]') and Chromium (apt-get install chromium); without them this is skipped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from tests.studio.page.opened import Opened

pytestmark = [pytest.mark.studio, pytest.mark.slow]


def test_a_key_from_a_view_is_written_and_undone(studio: Opened) -> None:
    studio.tab("Camera")
    studio.press("Key from this view")
    studio.until(lambda: studio.scene["camera"].get("keys"))
    (key,) = studio.scene["camera"]["keys"]
    assert key["frame"] == 1 and key["look_at_m"] is None and studio.scene["camera"]["moves"] == []
    studio.press("↶ undo")
    studio.until(lambda: studio.text == studio.shipped)
    studio.press("↷ redo")
    studio.until(lambda: studio.scene["camera"].get("keys") == [key])


def test_a_change_elsewhere_is_told_and_kept(studio: Opened) -> None:
    studio.file.write_text(studio.shipped.replace("class_name: cup", "class_name: mug"))
    studio.page.get_by_text("was edited by somebody else").first.wait_for()
    studio.tab("Camera")
    studio.press("Add to the shot")
    studio.page.get_by_text("nothing was overwritten").first.wait_for()
    assert studio.scene["class_name"] == "mug"
    studio.press("⟳ reload")
    studio.until(lambda: studio.desk.session.scene["class_name"] == "mug")
    studio.press("Add to the shot")
    studio.until(
        lambda: [move["kind"] for move in studio.scene["camera"]["moves"]] == ["orbit", "dolly", "orbit"]
    )


def test_clicks_on_the_photo_choose_its_mask(studio: Opened) -> None:
    studio.tab("Scene")
    studio.press("Choose on the photo")
    covers = studio.page.get_by_text(re.compile(r"the object covers [\d.]+%"))
    covers.wait_for()
    studio.rests()
    before = covers.inner_text()

    def click(x: float, y: float) -> None:
        studio.page.mouse.click(*studio.at(_on_photo(x, y)))

    click(0.5, 0.45)
    studio.press("beside it")
    studio.page.get_by_text("click what does not belong").wait_for()
    click(0.66, 0.72)  # the spoon
    studio.until(lambda: covers.count() and covers.inner_text() != before)
    studio.press("a box around it")
    studio.page.get_by_text("click two opposite corners").wait_for()
    click(0.15, 0.05)
    studio.page.get_by_text("now the opposite corner").wait_for()
    click(0.8, 0.95)
    covers.wait_for()
    studio.press("Make the scene of this mask")
    studio.until(lambda: "points" in studio.scene["segment"])
    segment = studio.scene["segment"]
    np.testing.assert_allclose(segment["points"][-1], [0.5, 0.45], atol=0.01)
    np.testing.assert_allclose(segment["background_points"][-1], [0.66, 0.72], atol=0.01)
    np.testing.assert_allclose(segment["box"], [0.15, 0.05, 0.8, 0.95], atol=0.01)


def _on_photo(x: float, y: float) -> np.ndarray:
    """Where the photo that hangs for clicks has a point, given in fractions of it; coffee's is 3 to 2."""
    from i2v3d.studio.mask_tool import FAR

    return FAR + np.array([(x - 0.5) * 3 / 2, 0.5 - y, 0.0])


def test_what_is_wrong_is_told_while_it_is_dragged(studio: Opened) -> None:
    from i2v3d.studio.shown import Shown, with_view

    shown, warnings = studio.desk.shown, studio.page.locator(".studio-warning")
    inside, away, aside = (shown.views[0].c2w.copy() for _ in range(3))
    middle = studio.studio.view.bodies.of["foreground"].points_m.mean(axis=0)
    inside[:3, 3] = (shown.poses["foreground"][0] @ [*middle, 1])[:3]
    away[:3, [0, 2]] *= -1  # it turns round
    aside[:3, 3] += 0.4 * shown.views[0].c2w[:3, 0]
    for pose, says in (
        (inside, "the camera is inside foreground"),
        (away, "foreground is out of sight"),
        (away, "a hole is in view"),
        (aside, "one photo holds about 15°"),
    ):
        draft = with_view(shown, 0, pose)

        def told(draft: Shown = draft, says: str = says) -> bool:
            # What Blender says of the curves comes a moment after a scene is opened, and takes a draft's place.
            if studio.desk.draft is not draft:
                studio.desk.drafted(draft)
            return warnings.get_by_text(says).count() > 0

        studio.until(told)
    assert studio.text == studio.shipped
    studio.desk.changed()
    studio.until(lambda: warnings.count() == 0)
