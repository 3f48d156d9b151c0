"""Scenes of other sources on the studio's page in a real browser: a photo of one's own, a skeleton, a .blend."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.studio.page.opened import Opened

pytestmark = [pytest.mark.studio, pytest.mark.slow]
ROOT = Path(__file__).parents[3]
MINE = """(bytes) => {
  const dropped = new DataTransfer();
  dropped.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], "mine.jpg", {type: "image/jpeg"}));
  return dropped;
}"""
ARTIST = """\
defaults: [blend, _self_]
name: artist
blend: artist.blend
photo: scenes/coffee/photo.jpg
foreground: [background]
"""


def test_a_photo_that_is_dropped_becomes_a_scene(studio: Opened) -> None:
    photo = ROOT / "scenes/coffee/photo.jpg"
    studio.tab("Scene")
    studio.field("scene name").fill("mine")
    studio.field("what it is").fill("mug")
    studio.until(lambda: (studio.value("scene name"), studio.value("what it is")) == ("mine", "mug"))
    dropped = studio.page.evaluate_handle(MINE, base64.b64encode(photo.read_bytes()).decode())
    studio.page.locator("[data-drop]").dispatch_event("drop", {"dataTransfer": dropped})
    studio.page.get_by_text("look at its mask, then at the scene").wait_for()
    assert studio.desk.session.name == "mine" and studio.desk.session.scene["class_name"] == "mug"
    assert (studio.folder / "scenes" / "mine" / "photo.jpg").read_bytes() == photo.read_bytes()
    studio.until(lambda: set(studio.studio.view.bodies.of) == {"foreground", "background"})
    studio.press("Back to the scene")


def test_a_skeleton_plays_the_action_that_is_chosen(studio: Opened) -> None:
    studio.tab("Scene")
    studio.choose("scene", "coffee_figure")
    studio.until(lambda: studio.desk.session.name == "coffee_figure")
    file = studio.desk.session.document.file
    studio.tab("Objects")
    studio.choose("object", "figure")
    studio.until(lambda: studio.value("action") != "none")  # Blender has said which there are
    studio.press("Remove its actions")
    studio.until(lambda: studio.desk.session.scene["actions"] == [])
    studio.choose("action", "walk")
    studio.fill("from frame", "3")
    studio.until(lambda: (studio.value("action"), studio.value("from frame")) == ("walk", 3))
    studio.press("Play it")
    studio.until(lambda: studio.desk.session.scene["actions"] != [])
    (action,) = studio.desk.session.scene["actions"]
    assert (action["object"], action["action"], action["start_frame"]) == ("figure", "walk", 3)
    assert "action: walk" in file.read_text() and "action: wave" not in file.read_text()
    # Blender has said how it bends; until the page looks at the new action, its figure without one is exact.
    studio.until(lambda: studio.desk.shown.exact and "figure" in studio.desk.shown.surfaces)
    points_m = studio.desk.shown.surfaces["figure"].points_m
    assert abs(points_m[5] - points_m[9]).max() > 1e-3


def test_the_foreground_of_a_blend_is_ticked(studio: Opened, finished: Path) -> None:
    (blend,) = (finished / "results/.cache/scene").glob("*/scene.blend")
    shutil.copyfile(blend, studio.folder / "artist.blend")
    file = studio.folder / "conf/scene/artist.yaml"
    file.write_text(ARTIST)
    studio.press("⟳ reload")  # which finds the file, too
    studio.tab("Scene")
    studio.choose("scene", "artist")
    studio.until(lambda: studio.desk.session.name == "artist")
    studio.tab("Objects")
    studio.page.get_by_text("Foreground of the .blend").wait_for()
    studio.page.get_by_label("foreground", exact=True).check()
    studio.until(lambda: set(studio.desk.session.scene["foreground"]) == {"background", "foreground"})
    studio.page.get_by_label("background", exact=True).uncheck()
    studio.until(lambda: studio.desk.session.scene["foreground"] == ["foreground"])
    roles = {"foreground": "foreground", "background": "background"}
    studio.until(lambda: {item.name: item.role for item in studio.desk.shown.objects} == roles)
    assert "foreground: [foreground]" in file.read_text()
