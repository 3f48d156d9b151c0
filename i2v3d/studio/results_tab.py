"""The page's results: films that go with the timeline, keyframes, scores, the gallery, another seed."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any

import viser
from jinja2 import Environment

from i2v3d.config.names import check_name
from i2v3d.errors import ConfigError, InputError
from i2v3d.studio import films, gallery
from i2v3d.studio.desk import Desk, required, small
from i2v3d.studio.errand import Errand
from i2v3d.studio.gallery import Entry
from i2v3d.studio.place import RESULTS
from i2v3d.studio.run_tab import RunTab, check_words
from i2v3d.studio.shown import MOVING
from i2v3d.studio.yaml_edit import Edit

NONE = "nothing yet"
MOST_TILES, MOST_SCORES = 24, 14
PAGE_PX = (760, 430)  # of the window with a run's comparison page, above the timeline of a small laptop
COMPARE, CLOSE = "Comparison page", "Close the comparison page"


class ResultsTab:
    """One variant at a time, and a gallery of all. results/ is read when something may have come, never for a frame:
    the films follow the timeline in the browser."""

    def __init__(self, desk: Desk, runs: RunTab) -> None:
        self._desk, self._runs = desk, runs
        self._entries: dict[str, Entry] = {}
        gui = desk.server.gui
        self._which = gui.add_dropdown("variant", (NONE,))
        self._films = gui.add_html(small("no run has left anything yet: press Preview or Generate"))
        self._keyframes = gui.add_html("")
        self._compare = gui.add_button(COMPARE, icon=viser.Icon.TABLE, color="gray", visible=False)
        self._use = gui.add_button("Use these settings", icon=viser.Icon.ARROW_BACK_UP, color="gray")
        self._scores = gui.add_html("")
        with gui.add_folder("Another seed for a segment", expand_by_default=False):
            self._segment = gui.add_number("segment", 0, min=0, step=1)
            self._seed = gui.add_number("seed", 1, min=0, step=1)
            redo = gui.add_button("Redo this segment", icon=viser.Icon.REFRESH, color="gray")
        with gui.add_folder("Gallery"):
            self._gallery = gui.add_html("")
        self._page: viser.PanelHandle | None = None
        self._stamp: object = None
        self._reading = Errand("results", desk.guarded(self._read))
        self._which.on_update(desk.guarded(lambda _: self._show()))
        self._compare.on_click(desk.guarded(lambda _: self._toggle_page()))
        self._use.on_click(desk.guarded(lambda _: self._use_settings()))
        redo.on_click(desk.guarded(lambda _: self._redo()))
        desk.listeners.append(self._reading.wish)

    def _entry(self) -> Entry | None:
        return self._entries.get(str(self._which.value))

    def choose(self, name: str) -> None:
        """Shows a variant by its name RUN/VARIANT, which a tile was clicked for. Raises InputError if there is none."""
        if name not in self._entries:
            raise InputError(f"results/{name[:80]} is not in the gallery")
        self._which.value = name

    def _read(self) -> None:
        """Shows what has come since. A new film is looked at at once: somebody waits for it."""
        found = gallery.entries(self._desk.place.here)
        stamp = tuple((entry.name, entry.changed) for entry in found)
        if stamp == self._stamp:
            return
        newest = found[0].name if self._stamp and found else ""
        self._stamp, self._entries = stamp, {entry.name: entry for entry in found}
        options = tuple(self._entries) or (NONE,)
        if tuple(self._which.options) != options:
            self._which.options = options
        self._gallery.content = piece("tiles", entries=found[:MOST_TILES])
        if newest and self._which.value != newest:
            self._which.value = newest  # which shows it
        else:
            self._show()

    def _show(self) -> None:
        entry, here = self._entry(), self._desk.place.here
        if entry is None:
            return
        self._films.content = piece(
            "player", entry=entry, films=films.of_variant(self._desk.place, entry.run, entry.variant)
        )
        pictures = gallery.keyframes(here, entry)
        self._keyframes.content = piece("strip", pictures=pictures)
        self._scores.content = piece("table", rows=list(gallery.scores(here, entry).items())[:MOST_SCORES])
        self._compare.visible = (here / RESULTS / entry.run / "comparison.html").is_file()
        self._desk.made = tuple(frame for frame, _ in pictures)
        self._desk.moved(self._desk.index)
        if self._page is not None:
            self._close_page()

    def _toggle_page(self) -> None:
        """Opens and closes the window with the run's comparison page."""
        entry, gui = self._entry(), self._desk.server.gui
        if self._page is not None or entry is None:
            self._close_page()
            return
        self._page = gui.add_panel()
        with self._page.add_tab("Comparison", viser.Icon.TABLE):
            gui.add_html(piece("comparison", run=check_name(entry.run, "run"), height=PAGE_PX[1]))
        self._page.float(x=16, y=16, width=PAGE_PX[0])
        self._compare.label = CLOSE

    def _close_page(self) -> None:
        if self._page is not None:
            self._page.remove()
        self._page, self._compare.label = None, COMPARE

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
        chosen = [word for word in words if not _written(word)]
        check_words(chosen)
        session.tell_words(chosen)
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


def _written(word: str) -> bool:
    """Whether a run's word is chosen elsewhere on the page, or is written into the scene's file."""
    option = word.split("=")[0].lstrip("+~").split(".")
    return option in (["scene"], ["run"]) or (option[0] == "scene" and option[1] in MOVING)


def piece(name: str, **values: object) -> str:
    """HTML of a macro of results.html.j2, values escaped."""
    return str(getattr(_pieces(), name)(**values))


@functools.cache
def _pieces() -> object:
    """The macros of results.html.j2."""
    text = (resources.files("i2v3d.studio") / "results.html.j2").read_text(encoding="utf-8")
    return Environment(autoescape=True).from_string(text).module
