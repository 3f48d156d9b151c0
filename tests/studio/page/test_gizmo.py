"""What is dragged by the gizmo on the studio's page in a real browser, and what that writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from tests.studio.page.opened import Opened

pytestmark = [pytest.mark.studio, pytest.mark.slow]
ALONG_X, UPWARDS = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
RING = 0.65  # radius of viser's rings, in the gizmo's size


def test_an_object_is_dragged_turned_and_scaled_and_each_drag_is_one_edit(studio: Opened) -> None:
    from i2v3d.studio.gizmo import LONG, UP

    gizmo = studio.studio.view.gizmo
    studio.tab("Objects")
    studio.press("Drag it at this frame")
    studio.until(lambda: gizmo.target == "foreground")
    studio.drag("/gizmo", 0.8 * gizmo.size_m * ALONG_X, 1.2 * gizmo.size_m * ALONG_X)
    studio.until(lambda: studio.text != studio.shipped)
    key, moved = studio.scene["keys"][0], studio.text
    np.testing.assert_allclose(key["translation_m"], 0.4 * gizmo.size_m * ALONG_X, atol=0.04 * gizmo.size_m)
    np.testing.assert_allclose(key["translation_m"][1:], 0, atol=1e-5)
    np.testing.assert_allclose(key["rotation_deg"], 0, atol=1e-3)
    assert key["frame"] == 1 and key["scale"] == [1, 1, 1]

    studio.drag("/gizmo", RING * gizmo.size_m * _about_x(45), RING * gizmo.size_m * _about_x(20))
    studio.until(lambda: studio.text != moved)
    turned = studio.text
    np.testing.assert_allclose(studio.scene["keys"][0]["rotation_deg"], [-25, 0, 0], atol=2)

    tip = 0.8 * LONG * gizmo.size_m
    studio.drag("/gizmo_scale", tip * UPWARDS, (tip + 0.5 * UP * gizmo.size_m) * UPWARDS)
    studio.until(lambda: studio.text != turned)
    scaled = studio.scene["keys"][0]
    assert scaled["scale"][0] == pytest.approx(1.5, abs=0.1) and len(set(scaled["scale"])) == 1
    assert scaled["translation_m"] == key["translation_m"]

    for before in (turned, moved, studio.shipped):
        studio.press("↶ undo")
        studio.until(lambda before=before: studio.text == before)


def test_the_camera_is_dragged_and_its_key_is_found_by_a_click(studio: Opened) -> None:
    gizmo = studio.studio.view.gizmo
    studio.desk.moved(7)
    studio.tab("Camera")
    studio.press("Drag the camera at this frame")
    studio.until(lambda: gizmo.target == "/camera")
    before = studio.desk.shown.views[7].c2w
    studio.drag("/gizmo", 0.8 * gizmo.size_m * ALONG_X, 1.1 * gizmo.size_m * ALONG_X)
    studio.until(lambda: studio.text != studio.shipped)
    first = _only_key(studio)
    went_m = before[:3, :3].T @ (np.array(first["position_m"]) - before[:3, 3])
    np.testing.assert_allclose(went_m, 0.3 * gizmo.size_m * ALONG_X, atol=0.03 * gizmo.size_m)
    assert first["frame"] == 8 and studio.scene["camera"]["moves"] == []

    studio.press("Drag the camera at this frame")
    studio.until(lambda: gizmo.target is None)
    studio.desk.moved(0)
    studio.at(np.zeros(3), "/camera/key8")
    studio.click_until(
        lambda: studio.at(np.array(first["position_m"])),
        lambda: gizmo.target == "/camera" and studio.desk.index == 7,
    )
    studio.drag("/gizmo", 0.8 * gizmo.size_m * ALONG_X, 0.5 * gizmo.size_m * ALONG_X)
    studio.until(lambda: _only_key(studio) != first)
    again = _only_key(studio)
    np.testing.assert_allclose(again["position_m"], before[:3, 3], atol=0.03 * gizmo.size_m)
    np.testing.assert_allclose(again["rotation_deg"], first["rotation_deg"], atol=1e-3)
    assert again["frame"] == 8


def _about_x(angle_deg: float) -> np.ndarray:
    """The direction (3,) at an angle from y to z: of the three rings, the one about x is in front of the others."""
    return np.array([0.0, np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))])


def _only_key(studio: Opened) -> dict[str, object]:
    (key,) = studio.scene["camera"]["keys"]
    found: dict[str, object] = key
    return found
