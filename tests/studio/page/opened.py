"""A studio in this process, its page in Chromium, and where on the page a point of the scene is drawn."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from playwright.sync_api import sync_playwright

from i2v3d.commands.studio import opened
from i2v3d.studio.front import Door
from i2v3d.studio.page import Studio
from tests.support.checkout import QUICK

SOFTWARE = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-gpu-compositing",  # it would take the processor, too
]
LAPTOP = {"width": 1280, "height": 720}
SOFT = (
    "fixedDpr=0.25"  # fewer pixels of the 3D view: without a GPU, drawing it is most of what these tests cost
)
CLOSES = ".mantine-Notification-closeButton"  # messages lie over the 3D view for a while
# Of the messages that a page works off at once viser applies updates last: after the removal of what they update.
LATE = "Tried to update non-existent component"
CLICK_S = 10  # in which a click is heeded
PATIENCE_S = 120  # for what takes a moment, on a machine that does other things too
Point = tuple[float, float]
# Where a point, in the axes of a node of the page's scene, is drawn now; null while the page has no such node.
DRAWN_AT = """([node, x, y, z]) => {
  const {nodeRefFromName, camera, canvas} = window.__viserMutable;
  if (!nodeRefFromName[node]) return null;
  nodeRefFromName[node].updateWorldMatrix(true, false);
  const at = nodeRefFromName[node].localToWorld(camera.position.clone().set(x, y, z)).project(camera);
  const box = canvas.getBoundingClientRect();
  return [box.x + (1 + at.x) / 2 * box.width, box.y + (1 - at.y) / 2 * box.height];
}"""
# Resolves once some frames have been drawn, over all of which the camera was where it is now.
RESTS = """async () => {
  const {camera, requestRender} = window.__viserMutable, drawn = window.__viserTestpoints.rendererInfo.render;
  let before = null, since = 0, frame = drawn.frame;
  while (since < 3) {
    requestRender();
    await new Promise(requestAnimationFrame);
    if (drawn.frame === frame) continue;
    frame = drawn.frame;
    const now = [...camera.matrixWorld.elements, ...camera.projectionMatrix.elements].map((v) => v.toFixed(5)).join();
    since = now === before ? since + 1 : 0;
    before = now;
  }
}"""


class Opened:
    """studio: as the command makes it. page: of Playwright. folder: that it works in."""

    def __init__(self, studio: Studio, page: Any, folder: Path) -> None:
        self.studio, self.page, self.folder = studio, page, folder
        self.desk = studio.desk
        self.file = folder / "conf" / "scene" / "coffee.yaml"
        self.shipped = self.file.read_text()
        self._said: list[str] = []
        self._drawn: object = None  # the scene that all parts of the page have shown last
        self.desk.listeners.append(self._note)
        page.on("console", lambda message: self._say(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self._say(str(error)))

    def _say(self, text: str) -> None:
        self._said.append(text)

    def _note(self) -> None:
        self._drawn = self.desk.shown

    def complaints(self) -> list[str]:
        """What the browser's console said since it was asked last, but for what is of viser's own making."""
        found, self._said = self._said, []
        return [said for said in found if not said.startswith(LATE)]

    def restore(self) -> None:
        """The shipped scene and words, whatever a test before has left; its meshes stay while the scene is open."""
        session = self.desk.session
        self.studio.view.gizmo.release()
        self.desk.moved(0)
        self.file.write_text(self.shipped)
        if session is None or session.name != "coffee":
            self.studio.open("coffee")
        else:
            session.document.reload()
            session.tell_words(QUICK)
        self.desk.changed()
        self.until(lambda: self._drawn is not None and self._drawn is self.desk.shown)
        self.page.evaluate(f"document.querySelectorAll('{CLOSES}').forEach((button) => button.click())")

    # ------------------------------------------------------------ the scene
    @property
    def text(self) -> str:
        return self.file.read_text()

    @property
    def scene(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load(self.text)
        return found

    def until(self, true: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
        """Waits, the browser at work meanwhile."""
        assert self._comes(true, patience_s), "waited in vain"

    def click_until(self, where: Callable[[], Point], true: Callable[[], object]) -> None:
        """Clicks a place until it is heeded: one between two of a slow browser's frames may miss what was drawn."""
        end = time.monotonic() + PATIENCE_S
        heeded = False
        while not heeded:
            assert time.monotonic() < end, "clicked in vain"
            self.rests()
            self.page.mouse.click(*where())
            heeded = self._comes(true, CLICK_S)

    def _comes(self, true: Callable[[], object], patience_s: float) -> bool:
        end = time.monotonic() + patience_s
        while not true():
            if time.monotonic() >= end:
                return False
            self.page.wait_for_timeout(50)
        return True

    # ------------------------------------------------------------ the page
    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def field(self, label: str, number: int = 1) -> Any:
        """A text field behind a label: viser joins them for the eye only."""
        found = f"xpath=//*[normalize-space(text())='{label}']/following::input[{number}]"
        return self.page.locator(found)

    def fill(self, label: str, value: str) -> None:
        field = self.field(label)
        field.fill(value)
        field.press("Enter")

    def value(self, label: str) -> Any:
        """What the program has in a field of the page: a text arrives a moment after it was typed."""
        handles = self.studio.server.gui._gui_input_handle_from_uuid.values()
        (found,) = {handle.value for handle in handles if getattr(handle, "label", None) == label}
        return found

    def choose(self, label: str, option: str) -> None:
        self.field(label).click()
        self.page.get_by_role("option", name=option, exact=True).click()

    # ------------------------------------------------------------ the 3D view
    def at(self, point_m: np.ndarray, node: str = "") -> Point:
        """Where on the page a point (3,) is drawn, in the axes of a node, without one of the world. Waits for it."""
        found: list[Point] = []

        def drawn() -> bool:
            at = self.page.evaluate(DRAWN_AT, [node, *map(float, point_m)])
            found[:] = [] if at is None else [(at[0], at[1])]
            return at is not None

        self.until(drawn)
        return found[0]

    def drag(self, node: str, start_m: np.ndarray, end_m: np.ndarray) -> None:
        """Drags what is drawn at a point, in the axes of a node as it is now, to another one."""
        self.at(start_m, node)
        self.rests()
        (x0, y0), (x1, y1) = self.at(start_m, node), self.at(end_m, node)
        mouse = self.page.mouse
        mouse.move(x0, y0)
        self.rests()
        mouse.down()
        for share in (0.25, 0.5, 0.75, 1.0):
            mouse.move(x0 + share * (x1 - x0), y0 + share * (y1 - y0))
        self.rests()
        mouse.up()

    def rests(self) -> None:
        """Waits until the page looks from where the program told it to, and has drawn that."""
        self.page.evaluate(RESTS)


def opened_studio(folder: Path, chromium: str, drawn: str = SOFT) -> Generator[Opened, None, None]:
    """The studio of the present folder, `folder`, with the words of the finished run, and its page. drawn: what viser
    is told of drawing."""
    studio, _ = opened([*QUICK])
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=SOFTWARE)
        try:
            studio.open("coffee")
            if drawn == SOFT:  # a photo's meshes shine by themselves
                studio.server.scene.configure_environment_map(None)
                studio.server.scene.configure_default_lights(enabled=False)
            address = studio.serve(Door.checked("127.0.0.1", 0, None))
            page = browser.new_page(viewport=LAPTOP)
            page.set_default_timeout(1000 * PATIENCE_S)
            made = Opened(studio, page, folder)
            page.goto(f"{address}?{drawn}")
            page.get_by_text("every edit is saved").wait_for()
            page.locator(CLOSES).first.wait_for(state="attached")  # it says that there is no GPU
            made.until(lambda: studio.server.get_clients())
            yield made
        finally:
            studio.desk.work.cancel()  # of a test that failed in mid-run
            browser.close()
            studio.close()
