"""The page's results: films beside each other, passes of the frame, keyframes, scores, the gallery, another seed."""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import viser
from jinja2 import Environment

from i2v3d.artifacts.folders import frame_name
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.errors import ArtifactError, ConfigError
from i2v3d.figures.labelled import Panel, labelled_rows
from i2v3d.images import Rgb, read_rgb
from i2v3d.report.preview import depth_picture
from i2v3d.studio import gallery
from i2v3d.studio.desk import Desk, required, small
from i2v3d.studio.gallery import Entry
from i2v3d.studio.place import RESULTS
from i2v3d.studio.run_tab import RunTab
from i2v3d.studio.shown import MOVING
from i2v3d.studio.yaml_edit import Edit

NONE = "nothing yet"
PANEL_PX, MOST_TILES = 220, 24
MOST_SCORES = 14


class ResultsTab:
    """One variant at a time, and a gallery of all."""

    def __init__(self, desk: Desk, runs: RunTab) -> None:
        self._desk, self._runs = desk, runs
        self._entries: dict[str, Entry] = {}
        gui = desk.server.gui
        self._which = gui.add_dropdown("variant", (NONE,))
        self._films = gui.add_html("")
        self._passes = gui.add_image(np.zeros((8, 8, 3), np.uint8), label="", visible=False)
        self._keyframes = gui.add_html("")
        self._scores = gui.add_html("")
        self._use = gui.add_button("Use these settings", icon=viser.Icon.ARROW_BACK_UP, color="gray")
        with gui.add_folder("Another seed for a segment", expand_by_default=False):
            self._segment = gui.add_number("segment", 0, min=0, step=1)
            self._seed = gui.add_number("seed", 1, min=0, step=1)
            redo = gui.add_button("Redo this segment", icon=viser.Icon.REFRESH, color="gray")
        with gui.add_folder("Gallery"):
            self._gallery = gui.add_html("")
        self._which.on_update(desk.guarded(lambda _: self._show()))
        self._use.on_click(desk.guarded(lambda _: self._use_settings()))
        redo.on_click(desk.guarded(lambda _: self._redo()))
        desk.listeners.append(self.update)
        self._stamp: object = None

    def _entry(self) -> Entry | None:
        return self._entries.get(str(self._which.value))

    def update(self) -> None:
        """Shows what has come since, and the passes of the frame."""
        found = gallery.entries(self._desk.place.here)
        stamp = tuple((entry.run, entry.variant, entry.changed) for entry in found)
        if stamp != self._stamp:
            self._stamp = stamp
            self._entries = {f"{entry.run}/{entry.variant}": entry for entry in found}
            options = tuple(self._entries) or (NONE,)
            if tuple(self._which.options) != options:
                self._which.options = options
            self._gallery.content = piece("tiles", entries=[e for e in found[:MOST_TILES] if e.picture])
            self._show()
        else:
            self._show_passes()

    def _show(self) -> None:
        entry = self._entry()
        if entry is None:
            self._films.content = small("no run has left anything yet: press Preview or Generate")
            return
        self._films.content = films(entry)
        pictures = gallery.keyframes(self._desk.place.here, entry)
        self._keyframes.content = piece("strip", pictures=pictures)
        scores = list(gallery.scores(self._desk.place.here, entry).items())
        self._scores.content = piece("table", rows=scores[:MOST_SCORES])
        self._show_passes()

    def _show_passes(self) -> None:
        entry = self._entry()
        picture = frame_picture(self._desk.place.here, entry, self._desk.index + 1) if entry else None
        self._passes.visible = picture is not None
        if picture is not None:
            self._passes.image = picture

    def _use_settings(self) -> None:
        entry, session = self._entry(), required(self._desk)
        if entry is None:
            raise ConfigError("choose a variant first")
        words, scene = gallery.settings(self._desk.place.here, entry)
        if scene["name"] != session.scene["name"]:
            raise ConfigError(
                f"results/{entry.run}/{entry.variant} shows scene {scene['name']}; open that one to use its settings"
            )
        edits = [
            Edit((key,), scene[key])
            for key in MOVING
            if key in scene and scene[key] != session.scene.get(key)
        ]
        chosen = [word for word in words if word.split("=")[0] not in ("scene", "run")]
        session.tell_words([word for word in chosen if not word.startswith("scene.")])
        if edits:
            session.edit(*edits)
        self._desk.tell("Settings", f"those of results/{entry.run}/{entry.variant}; undo leads back", "green")

    def _redo(self) -> None:
        session = required(self._desk)
        interpolate: dict[str, Any] = session.config["interpolate"]
        seeds = {**(interpolate.get("segment_seeds") or {}), int(self._segment.value): int(self._seed.value)}
        said = ",".join(
            f"{segment}:{seed}" for segment, seed in sorted((int(k), v) for k, v in seeds.items())
        )
        self._runs.redo([f"interpolate.segment_seeds={{{said}}}"])


def piece(name: str, **values: object) -> str:
    """HTML of a macro of results.html.j2, values escaped."""
    return str(getattr(_pieces(), name)(**values))


@functools.cache
def _pieces() -> object:
    """The macros of results.html.j2."""
    text = (resources.files("i2v3d.studio") / "results.html.j2").read_text(encoding="utf-8")
    return Environment(autoescape=True).from_string(text).module


def films(entry: Entry) -> str:
    """HTML of a variant's films, coarse and generated beside each other."""
    named = {Path(film).name: film for film in reversed(entry.films)}
    pairs = [
        (named[file], label)
        for file, label in (("coarse.mp4", "coarse"), ("video.mp4", "generated"))
        if file in named
    ]
    return piece("films", pairs=pairs, run=entry.run, stamp=int(entry.changed), finished=entry.finished)


def frame_picture(here: Path, entry: Entry, frame: int) -> Rgb | None:
    """What a variant has of a frame of its shot, labelled; None without a render of that frame."""
    base = here / RESULTS / entry.run / entry.variant
    render = RenderFolder(base / "stages" / "render")
    try:
        rgb, depth = render.rgb(frame), render.passes([frame]).depth_m[0]
        seen = np.isfinite(depth)
        near, far = (float(depth[seen].min()), float(depth[seen].max())) if seen.any() else (1.0, 1.0)
        mask = np.repeat(render.foreground(frame)[..., None].astype(np.uint8) * 255, 3, axis=2)
        panels = [Panel("coarse", rgb), Panel("depth", depth_picture(depth, near, far)), Panel("mask", mask)]
        made = base / "frames" / frame_name(frame)
        if made.is_file():
            panels.append(Panel("generated", read_rgb(made)))
    except (ArtifactError, OSError):
        return None  # not rendered, or just being made again
    return labelled_rows([(f"frame {frame}", panels[:2]), ("", panels[2:])], PANEL_PX)
