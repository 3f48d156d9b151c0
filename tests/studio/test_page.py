"""The studio's page in a real browser: a scene, a key from a view, runs that outlive the page, a photo of one's own.

Needs viser (pip install 'i2v3d[studio]') and Chromium (apt-get install chromium); without them this is skipped.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from i2v3d.studio.work import Work

pytest.importorskip("viser", reason="the studio needs it: pip install 'i2v3d[studio]'")
playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.studio,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing: apt-get install chromium"),
]
ROOT = Path(__file__).parents[2]
WORDS = ("experiment=quick", "scene.width=96", "scene.height=64", "scene.frames=8", "render.samples=1")
SOFTWARE = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
]
PATIENCE_S = 600  # of a run, on a machine that does other things too


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studio")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """A studio of its own folder, as a user starts it."""
    command = [sys.executable, "-m", "i2v3d", "studio", "scene=coffee", *WORDS, "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WANDB_MODE": "offline"}
    log = folder / "studio.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out)
    try:
        _until(lambda: "the studio is at" in log.read_text() or process.poll() is not None, 180)
        found = re.search(r"the studio is at (\S+)", log.read_text())
        assert found, log.read_text()[-2000:]
        yield found[1]
    finally:
        Work(folder, folder / "results" / ".jobs" / "studio").cancel()  # of a test that failed in mid-run
        process.send_signal(signal.SIGINT)
        process.wait(60)


@pytest.fixture
def page(address: str) -> Iterator[Any]:
    """A fresh browser on the studio, which must not complain on its console."""
    said: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE)
        opened = browser.new_page(viewport={"width": 1280, "height": 720})
        opened.set_default_timeout(120_000)
        opened.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.goto(address)
        opened.get_by_text("every edit is saved").wait_for()
        yield opened
        browser.close()
    assert said == []


def _until(true: Callable[[], bool], patience_s: float) -> None:
    end = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def _tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def _press(page: Any, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def _field(page: Any, label: str) -> Any:
    """The text field behind a label: viser joins them for the eye only."""
    return page.locator(f"xpath=//*[normalize-space(text())='{label}']/following::input[1]")


def _scene(folder: Path, name: str = "coffee") -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "conf" / "scene" / f"{name}.yaml").read_text())
    return found


def test_a_key_from_a_view_is_written_and_undone(page: Any, folder: Path) -> None:
    before = (folder / "conf/scene/coffee.yaml").read_text()
    _tab(page, "Camera")
    _press(page, "Key from this view")
    _until(lambda: bool(_scene(folder)["camera"].get("keys")), 60)
    (key,) = _scene(folder)["camera"]["keys"]
    assert key["frame"] == 1 and key["look_at_m"] is None and _scene(folder)["camera"]["moves"] == []
    _press(page, "↶ undo")
    _until(lambda: (folder / "conf/scene/coffee.yaml").read_text() == before, 60)


def test_a_change_elsewhere_is_told_and_kept(page: Any, folder: Path) -> None:
    file = folder / "conf/scene/coffee.yaml"
    file.write_text(file.read_text().replace("class_name: cup", "class_name: mug"))
    page.get_by_text("was edited by somebody else").first.wait_for()
    _tab(page, "Camera")
    _press(page, "Add to the shot")
    page.get_by_text("nothing was overwritten").first.wait_for()
    assert "class_name: mug" in file.read_text()
    _press(page, "⟳ reload")
    page.get_by_text("every edit is saved").wait_for()


def test_a_preview_outlives_a_reload_and_its_films_are_shown(page: Any, folder: Path) -> None:
    _tab(page, "Run")
    _press(page, "Preview")
    page.locator("[data-state=running]").wait_for()
    page.reload()
    page.get_by_text("every edit is saved").wait_for()
    _tab(page, "Run")
    page.locator("[data-state=finished]").wait_for(timeout=PATIENCE_S * 1000)
    assert (folder / "results/coffee/base/preview/coarse.mp4").stat().st_size
    _tab(page, "Results")
    page.locator("video").first.wait_for()


def test_a_run_is_cancelled(page: Any, folder: Path) -> None:
    _tab(page, "Run")
    _press(page, "Generate")
    page.locator("[data-state=running]").wait_for()
    _press(page, "Cancel")
    page.locator("[data-state=cancelled]").wait_for()
    assert Work(folder, folder / "results" / ".jobs" / "studio").progress().state == "cancelled"


def test_a_photo_becomes_a_scene(page: Any, folder: Path) -> None:
    _field(page, "scene name").fill("mine")
    _field(page, "what it is").fill("mug")
    page.wait_for_timeout(3000)  # texts are sent a moment after they were typed
    page.locator("input[type=file]").first.set_input_files(ROOT / "scenes/coffee/photo.jpg")
    _until(lambda: (folder / "conf/scene/mine.yaml").is_file(), 120)
    assert _scene(folder, "mine")["class_name"] == "mug"
    assert (folder / "scenes" / "mine" / "photo.jpg").is_file()
