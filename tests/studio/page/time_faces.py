"""Frames a second of the studio's page in Chromium without a GPU, by the faces of its scene, for docs/studio.md.

python -m tests.studio.page.time_faces (needs viser, Playwright and Chromium; nothing else should run meanwhile)
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import trimesh

from tests.studio.page.conftest import CHROMIUM
from tests.studio.page.opened import Opened, opened_studio

log = logging.getLogger(__name__)
FACES = (2_000, 200_000, 1_000_000)
SECONDS = 8
SCENE = """\
defaults: [coffee, _self_]
name: heavy{faces}
objects:
  - name: ball
    mesh: ball{faces}.glb
    copy_of: null
    role: foreground
    place: {{position_m: [0.1, 0.3, 0.05], rotation_deg: [0, 0, 0], scale: 0.05}}
    pivot_m: null
    keys: []
"""
# Draws as often as it can while the view turns: frames, seconds, and triangles of the last frame.
DRAW = """async (seconds) => {
  const {requestRender, cameraControl} = window.__viserMutable, drawn = window.__viserTestpoints.rendererInfo.render;
  let frames = 0, last = drawn.frame;
  const began = performance.now();
  while (performance.now() - began < 1000 * seconds) {
    cameraControl.rotate(0.005, 0, false);
    requestRender();
    await new Promise(requestAnimationFrame);
    if (drawn.frame !== last) frames++;
    last = drawn.frame;
  }
  return [frames, (performance.now() - began) / 1000, drawn.triangles];
}"""


def main() -> None:
    """Writes a line for every size."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("i2v3d").setLevel(logging.WARNING)
    if CHROMIUM is None:
        raise SystemExit("Chromium is missing: apt-get install chromium")
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="i2v3d-") as name:
        folder = Path(name)
        (folder / "conf/scene").mkdir(parents=True)
        for faces in FACES:
            write_ball(folder / f"ball{faces}.glb", faces)
            (folder / f"conf/scene/heavy{faces}.yaml").write_text(SCENE.format(faces=faces))
        shutil.copyfile(before / "conf/scene/coffee.yaml", folder / "conf/scene/coffee.yaml")
        os.chdir(folder)
        try:
            for studio in opened_studio(folder, CHROMIUM, drawn="fixedDpr=1"):
                for faces in FACES:
                    log.info("%s", timed(studio, faces))
        finally:
            os.chdir(before)


def write_ball(file: Path, faces: int) -> None:
    """A ball of about so many faces, a unit in radius."""
    rows = int(np.sqrt(faces / 2)) + 2
    trimesh.creation.uv_sphere(radius=1.0, count=[rows, rows]).export(file)


def timed(studio: Opened, faces: int) -> str:
    """Opens the scene with a ball of so many faces and draws it for a while."""
    studio.studio.open(f"heavy{faces}")
    studio.until(lambda: "ball" in studio.studio.view.bodies.of and studio.desk.shown.exact)
    studio.at(np.zeros(3), "/objects/ball")
    studio.rests()
    devtools = studio.page.context.new_cdp_session(studio.page)
    devtools.send("Performance.enable")
    script = -_script_s(devtools)
    frames, seconds, triangles = studio.page.evaluate(DRAW, SECONDS)
    script += _script_s(devtools)
    return (
        f"ball of {faces:,} faces: {triangles:,} triangles drawn, {frames / seconds:.1f} frames a second, "
        f"{1000 * script / frames:.1f} ms of each in the page's JavaScript"
    )


def _script_s(devtools: object) -> float:
    """Seconds that the page's JavaScript has run."""
    metrics = devtools.send("Performance.getMetrics")["metrics"]  # type: ignore[attr-defined]
    return float(next(metric["value"] for metric in metrics if metric["name"] == "ScriptDuration"))


if __name__ == "__main__":
    main()
