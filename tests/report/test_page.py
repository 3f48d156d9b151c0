"""The page of a comparison in a real browser: its videos play in step, and nothing goes wrong."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from i2v3d.artifacts.folders import frame_name
from i2v3d.images import write_rgb
from i2v3d.report.films import film
from i2v3d.report.page import Cell, Column, Films, Page, Picture, Row, Table

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FPS, FRAMES = 8, 6
# Presses the button, waits until both videos play, presses it again, drags the slider to frame 3, and writes down
# what it saw. The browser prints a page once it is loaded: a picture that SERVER holds back keeps it from that.
ASK = """<img src="SERVER/hold" style="display: none"><script>
const wrong = [];
window.addEventListener("error", (e) => wrong.push(e.message));
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
(async () => {
  await wait(1500);
  const videos = [...document.querySelectorAll("video")], button = document.querySelector("button");
  const times = () => videos.map((v) => v.currentTime.toFixed(3)).join(" ");
  button.click();
  // A busy machine plays the first frame late.
  for (let tries = 0; tries < 600 && !videos.every((v) => v.currentTime > 0.15); tries++) await wait(50);
  const playing = videos.every((v) => !v.paused && v.readyState >= 2) + " " + times();
  button.click();
  await wait(300);
  const slider = document.querySelector("input");
  slider.value = 3;
  slider.dispatchEvent(new Event("input"));
  await wait(500);
  const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  document.body.insertAdjacentHTML("beforeend", "<p id=asked>" +
    [playing, times(), document.querySelector("output").textContent, wide, wrong.length].join("|") + "</p>");
  new Image().src = "SERVER/done";
})();
</script></body>"""


def page(folder: Path) -> Page:
    """Two videos, and a table that is wider than a phone."""
    films = []
    for name, grey in (("one", 10), ("two", 100)):
        (folder / name).mkdir()
        for number in range(1, FRAMES + 1):
            write_rgb(folder / name / frame_name(number), np.full((32, 48, 3), grey + 20 * number, np.uint8))
        films.append(film(name, folder / name, FRAMES, FPS, folder / f"{name}.mp4"))
    columns = tuple(Column(f"score {i}", "higher is better", "what it means") for i in range(12))
    row = Row("variant", tuple(Cell("1.234", "1.1 … 1.3") for _ in columns))
    table = Table("all", "Scores", "Higher is better.", "variant", columns, (row,))
    return Page(
        "A comparison", ["Two videos."], [table], [Films("a shot", FPS, FRAMES, (1, 3, 6), tuple(films))]
    )


class Hold(BaseHTTPRequestHandler):
    """Answers /hold only after /done was asked for."""

    done = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/done":
            self.done.set()
        self.done.wait(120)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def hold() -> Iterator[str]:
    """The address of a server on loopback that holds a page back."""
    Hold.done.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Hold) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        Hold.done.set()
        server.shutdown()


def ask(path: Path, profile: Path, width: int) -> list[str]:
    assert CHROMIUM is not None
    words = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        f"--user-data-dir={profile}",
    ]
    words += [f"--window-size={width},900", "--dump-dom", path.as_uri()]
    done = subprocess.run([CHROMIUM, *words], capture_output=True, text=True, timeout=240, check=True)
    assert "CONSOLE" not in done.stderr, done.stderr
    found = re.search(r'<p id="asked">(.*?)</p>', done.stdout)
    assert found, done.stdout[-2000:]
    return found[1].split("|")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize("width", [1280, 500])
@pytest.mark.slow
def test_videos_play_and_stop_in_step_at_every_width(tmp_path: Path, width: int) -> None:
    path = tmp_path / "page.html"
    page(tmp_path).write(path)
    with hold() as server:
        path.write_text(path.read_text().replace("</body>", ASK.replace("SERVER", server)))
        playing, times, told, wide, wrong = ask(path, tmp_path / "profile", width)
    plays, one, two = playing.split()
    assert plays == "true" and float(one) > 0.1 and abs(float(one) - float(two)) < 0.6 / FPS
    assert [float(time) for time in times.split()] == pytest.approx([2.5 / FPS] * 2, abs=1e-3)
    assert told == "frame 3, keyframe"
    assert (wide, wrong) == ("false", "0"), "the page itself does not scroll sideways; tables do"


def test_names_and_captions_are_text_and_no_markup(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    Page("<b>bold</b>", ["a < b"], pictures=[Picture("data:image/png;base64,", '"quoted" & <i>')]).write(path)
    text = path.read_text()
    assert "<b>bold" not in text and "&lt;b&gt;bold" in text and "<i>" not in text
