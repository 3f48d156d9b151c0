"""The mask of a photo's object: the photo hung up on the page, where clicks on and beside the object improve it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import viser

from i2v3d.errors import ConfigError
from i2v3d.geometry.cameras import Array
from i2v3d.images import Mask, Rgb
from i2v3d.scene.photo.framing import load_photo
from i2v3d.scene.photo.grabcut import grabcut
from i2v3d.studio.desk import Desk, required, small
from i2v3d.studio.errand import Errand
from i2v3d.studio.view3d import View3D
from i2v3d.studio.yaml_edit import Edit

FAR = np.array([0.0, 0.0, 1000.0])  # where the photo hangs while its mask is chosen: away from the scene
FOV = np.radians(45)  # of a page that looks at it
# Of the page's height: what the photo takes, and by how much it hangs above the timeline.
SHARE, DOWN = 0.7, 0.12
LARGEST_PX = 1280  # of the photo on the page; its mask is found on the whole photo
ON, BESIDE, BOX = "on the object", "beside it", "a box around it"
CHOOSE, BACK = "Choose on the photo", "Back to the scene"
ON_COLOUR, BESIDE_COLOUR, BOX_COLOUR = (90, 220, 120), (250, 90, 90), (255, 200, 60)
MARKS = ("box", "points", "background_points")


class MaskTool:
    """Its buttons, and the photo while it hangs. A click is marked at once; the mask follows in the background."""

    def __init__(self, desk: Desk, view: View3D) -> None:
        self._desk, self._view = desk, view
        gui = desk.server.gui
        self._choose = gui.add_button(CHOOSE, icon=viser.Icon.PHOTO, color="gray")
        self._tool = gui.add_button_group("a click is", (ON, BESIDE, BOX), visible=False)
        self._tool_now = gui.add_html("", visible=False)
        self._keep = gui.add_button("Make the scene of this mask", visible=False)
        self._forget = gui.add_button("Start again", visible=False, color="gray")
        self._told = gui.add_html("")
        self._tool.on_click(desk.guarded(lambda _: self._tell_tool()))
        self._choose.on_click(desk.guarded(lambda _: self.end() if self.hangs else self.begin()))
        self._keep.on_click(desk.guarded(lambda _: self._write()))
        self._forget.on_click(desk.guarded(lambda _: self._reset()))
        self._finding = Errand("mask", desk.guarded(self._find))
        self._photo: Rgb | None = None
        self._mask: Mask | None = None
        self._marks: dict[str, Any] = {}
        self._corner: list[float] | None = None
        self._callbacks: list[Any] = []

    @property
    def hangs(self) -> bool:
        return self._photo is not None

    def begin(self) -> None:
        """Hangs the photo up, and takes clicks on it. Raises ConfigError for a scene without a mask of clicks."""
        session = required(self._desk)
        if session.scene["source"] != "photo":
            raise ConfigError("only scenes of a photo have a mask; this one brings its own foreground")
        if session.scene["segment"]["method"] == "words":
            raise ConfigError(
                "segment.method is words, which takes no clicks; set it to grabcut in the scene's file"
            )
        self._photo = load_photo(Path(session.scene["photo"])).rgb
        self._mask, self._corner = None, None
        self._marks = {key: session.scene["segment"][key] for key in MARKS}
        scene = self._desk.server.scene
        self._callbacks = [scene.on_click()(lambda event: self._desk.guarded(self._clicked)(event))]
        self._show_buttons(True)
        self._tell_tool()
        for client in self._desk.server.get_clients().values():
            self._face(client)
        self._hang()
        self._finding.wish()

    def _face(self, client: viser.ClientHandle) -> None:
        """Has a page look at the whole photo, above its timeline."""
        height = max(1 / SHARE, 1.05 * self._aspect() / max(client.camera.aspect, 0.1))
        below = FAR - np.array([0.0, DOWN * height, 0.0])
        with client.atomic():
            client.camera.up_direction = (0.0, 1.0, 0.0)
            client.camera.position = below + np.array([0.0, 0.0, height / 2 / np.tan(FOV / 2)])
            client.camera.look_at = below
            client.camera.fov = FOV

    def end(self) -> None:
        """Takes the photo down."""
        if self._photo is None:
            return
        self._photo = None
        scene = self._desk.server.scene
        for callback in self._callbacks:
            scene.remove_click_callback(callback)
        self._callbacks = []
        scene.remove_by_name("/photo")
        self._show_buttons(False)
        self._told.content = ""
        for client in self._desk.server.get_clients().values():
            self._view.welcome(client)

    def _show_buttons(self, hangs: bool) -> None:
        for handle in (self._tool, self._tool_now, self._keep, self._forget):
            handle.visible = hangs
        self._choose.label = BACK if hangs else CHOOSE

    def _tell_tool(self) -> None:
        self._corner = None
        says = {ON: "click what belongs to the object", BESIDE: "click what does not belong to it",
                BOX: "click two opposite corners"}  # fmt: skip
        self._tool_now.content = small(f"<b>{self._tool.value}</b>: {says[self._tool.value]}")

    def _clicked(self, event: viser.SceneClickEvent) -> None:
        if self._photo is None:
            return
        where = on_photo(np.array(event.ray_origin), np.array(event.ray_direction), self._aspect())
        if where is None:
            return
        point = [round(value, 4) for value in where]
        tool = self._tool.value
        if tool == BOX and self._corner is None:
            self._corner = point
            self._hang()
            self._tool_now.content = small(f"<b>{BOX}</b>: now the opposite corner")
            return
        if tool == BOX:
            assert self._corner is not None
            (x0, x1), (y0, y1) = (sorted(pair) for pair in zip(self._corner, point, strict=True))
            self._marks["box"] = [x0, y0, x1, y1]
            self._tell_tool()
        else:
            key = "points" if tool == ON else "background_points"
            self._marks[key] = [*self._marks[key], point]
        self._hang()
        self._finding.wish()

    def _find(self) -> None:
        """Finds the mask that the marks give."""
        photo, marks, session = self._photo, dict(self._marks), required(self._desk)
        if photo is None:
            return
        self._told.content = small("finding the mask ...")
        found = grabcut(
            photo, marks["box"], session.scene["segment"]["iterations"], marks["points"], marks["background_points"]
        )  # fmt: skip
        if self._photo is photo:
            self._mask = found
            self._hang()
            self._told.content = small(f"the object covers {found.mean():.1%} of the photo")

    def _hang(self) -> None:
        """Shows the photo, dark where its mask is not, with its marks."""
        photo, mask = self._photo, self._mask
        if photo is None:
            return
        scale = min(1.0, LARGEST_PX / max(photo.shape[:2]))
        size = (round(photo.shape[1] * scale), round(photo.shape[0] * scale))
        shown = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
        if mask is not None:
            inside = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
            shown = np.where(inside[..., None], shown, (shown * 0.35 + 30).astype(np.uint8))
        marked(shown, self._marks, self._corner)
        self._desk.server.scene.add_image(
            "/photo", shown, self._aspect(), 1.0, position=FAR, cast_shadow=False, receive_shadow=False,
            wxyz=(0.0, 1.0, 0.0, 0.0),
        )  # fmt: skip

    def _aspect(self) -> float:
        assert self._photo is not None
        return self._photo.shape[1] / self._photo.shape[0]

    def _reset(self) -> None:
        self._marks, self._corner = {"box": None, "points": [], "background_points": []}, None
        self._hang()
        self._finding.wish()

    def _write(self) -> None:
        session = required(self._desk)
        segment = session.scene["segment"]
        edits = [
            Edit(("segment", key), self._marks[key]) for key in MARKS if self._marks[key] != segment[key]
        ]
        if session.scene["mask"] is not None:
            edits.append(Edit(("mask",), None))
        self.end()
        if edits:
            session.edit(*edits)


def on_photo(origin: Array, direction: Array, aspect: float) -> tuple[float, float] | None:
    """Where a ray meets the photo that hangs at `FAR`, 1 m tall: fractions from its left and top; None beside it."""
    if abs(direction[2]) < 1e-9:
        return None
    at = origin + (FAR[2] - origin[2]) / direction[2] * direction
    x, y = at[0] / aspect + 0.5, 0.5 - at[1]
    return (float(x), float(y)) if 0 <= x <= 1 and 0 <= y <= 1 else None


def disc(picture: Rgb, x: float, y: float, colour: tuple[int, int, int]) -> None:
    """Draws a mark into a picture."""
    radius = max(3, round(0.012 * max(picture.shape[:2])))
    cv2.circle(picture, (round(x), round(y)), radius, colour, -1, cv2.LINE_AA)
    cv2.circle(picture, (round(x), round(y)), radius, (255, 255, 255), max(1, radius // 4), cv2.LINE_AA)


def marked(picture: Rgb, marks: dict[str, Any], corner: list[float] | None) -> None:
    """Draws points, the box and its first corner into a picture."""
    height, width = picture.shape[:2]
    if marks["box"] is not None:
        x0, y0, x1, y1 = (round(v * side) for v, side in zip(marks["box"], (width, height) * 2, strict=True))
        cv2.rectangle(picture, (x0, y0), (x1, y1), BOX_COLOUR, max(1, width // 400), cv2.LINE_AA)
    for x, y in marks["points"]:
        disc(picture, x * width, y * height, ON_COLOUR)
    for x, y in marks["background_points"]:
        disc(picture, x * width, y * height, BESIDE_COLOUR)
    if corner is not None:
        disc(picture, corner[0] * width, corner[1] * height, BOX_COLOUR)
