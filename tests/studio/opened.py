"""A studio in this process, its page in Chromium, and where on the page a point of the scene is drawn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from playwright.sync_api import sync_playwright
from scipy.spatial.transform import Rotation

from i2v3d.commands.studio import opened
from i2v3d.studio.front import Door
from i2v3d.studio.page import Studio
from tests.support.checkout import QUICK

SOFTWARE = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
]
LAPTOP = {"width": 1280, "height": 720}
PATIENCE_S = 120  # for what takes a moment, on a machine that does other things too
Point = tuple[float, float]


class Opened:
    """studio: as the command makes it. page: of Playwright. folder: that it works in."""

    def __init__(self, studio: Studio, page: Any, folder: Path) -> None:
        self.studio, self.page, self.folder = studio, page, folder
        self.desk = studio.desk
        self.file = folder / "conf" / "scene" / "coffee.yaml"
        self.shipped = self.file.read_text()
        self._said: list[str] = []
        page.on("console", lambda message: self._say(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self._say(str(error)))

    def _say(self, text: str) -> None:
        self._said.append(text)

    def complaints(self) -> list[str]:
        """What the browser's console said since it was asked last."""
        found, self._said = self._said, []
        return found

    def restore(self) -> None:
        """The shipped scene, opened anew if another one is open or its file is another."""
        self.studio.view.gizmo.release()
        self.desk.moved(0)
        if self.desk.session is None or self.desk.session.name != "coffee" or self.text != self.shipped:
            self.file.write_text(self.shipped)
            self.studio.open("coffee")
        self.until(lambda: set(self.studio.view.bodies.of) == {"foreground", "background"})

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
        end = time.monotonic() + patience_s
        while not true():
            assert time.monotonic() < end, "waited in vain"
            self.page.wait_for_timeout(50)

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

    def at(self, point_m: np.ndarray) -> Point:
        """Where on the page a point (3,) of the world is drawn."""
        camera = self._camera()
        w, x, y, z = camera.wxyz
        seen = Rotation.from_quat([x, y, z, w]).inv().apply(np.asarray(point_m) - camera.position)
        box = self.page.locator("canvas").first.bounding_box()
        focal_px = box["height"] / 2 / np.tan(camera.fov / 2)
        column, row = seen[:2] / seen[2] * focal_px
        return box["x"] + box["width"] / 2 + column, box["y"] + box["height"] / 2 + row

    def drag(self, start_m: np.ndarray, end_m: np.ndarray) -> None:
        """Drags what is drawn at a point of the world to another one."""
        (x0, y0), (x1, y1) = self.at(start_m), self.at(end_m)
        mouse = self.page.mouse
        mouse.move(x0, y0)
        self.page.wait_for_timeout(300)  # the gizmo sees what is under the pointer when it next draws
        mouse.down()
        for share in (0.25, 0.5, 0.75, 1.0):
            mouse.move(x0 + share * (x1 - x0), y0 + share * (y1 - y0))
            self.page.wait_for_timeout(120)
        mouse.up()

    def rests(self) -> None:
        """Waits until the page looks from where the program told it to."""
        last: object = None

        def still() -> bool:
            nonlocal last
            before, last = last, (tuple(self._camera().position), tuple(self._camera().wxyz))
            return before == last

        self.page.wait_for_timeout(500)
        self.until(still)

    def _camera(self) -> Any:
        (client,) = self.desk.server.get_clients().values()
        return client.camera


def opened_studio(folder: Path, chromium: str) -> Iterator[Opened]:
    """The studio of the present folder, `folder`, with the words of the finished run, and its page."""
    studio, _ = opened([*QUICK])
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=SOFTWARE)
        try:
            studio.open("coffee")
            address = studio.serve(Door.checked("127.0.0.1", 0, None))
            page = browser.new_page(viewport=LAPTOP)
            page.set_default_timeout(1000 * PATIENCE_S)
            made = Opened(studio, page, folder)
            page.goto(address)
            page.get_by_text("every edit is saved").wait_for()
            page.locator(".mantine-Notification-closeButton").first.dispatch_event("click")  # there is no GPU
            made.until(lambda: studio.server.get_clients())
            yield made
        finally:
            studio.desk.work.cancel()  # of a test that failed in mid-run
            browser.close()
            studio.close()
