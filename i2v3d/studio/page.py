"""The studio's page: viser's server with all parts of the page, and the door before it."""

from __future__ import annotations

import html
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import viser

from i2v3d.errors import InputError
from i2v3d.studio import films
from i2v3d.studio.camera_tab import CameraTab
from i2v3d.studio.desk import Desk, required, small
from i2v3d.studio.errand import Errand
from i2v3d.studio.front import Door, Front, Served, hidden_address
from i2v3d.studio.object_tab import ObjectTab
from i2v3d.studio.place import Place
from i2v3d.studio.results_tab import ResultsTab
from i2v3d.studio.run_tab import RunTab
from i2v3d.studio.scene_tab import SceneTab
from i2v3d.studio.session import Session
from i2v3d.studio.sight import warnings_at
from i2v3d.studio.timeline import Timeline
from i2v3d.studio.view3d import View3D
from i2v3d.studio.work import Work

log = logging.getLogger(__name__)
PANEL_PX = 420
DISK_S = 1.0  # between two looks at whether somebody else changed the file
NewScene = Callable[[str, Path, str | None], None]


class Studio:
    """The page of one folder. new: what `i2v3d new` does, of a name, a photo and a class name."""

    def __init__(self, place: Place, words: Sequence[str], new: NewScene) -> None:
        self._words = tuple(words)
        address = hidden_address()
        logging.getLogger("websockets").setLevel(logging.WARNING)
        with redirect_stdout(StringIO()):  # it tells an address that is nobody's to use
            self.server = viser.ViserServer(host=address, port=0, label="i2v3d studio", verbose=False)
        self._inside = (address, self.server.get_port())
        self.server.gui.configure_theme(
            dark_mode=True,
            show_logo=False,
            show_share_button=False,
            control_width="large",
            brand_color=(255, 122, 26),
        )
        self.server.gui.main_panel.dock_right()
        self.server.gui.main_panel.set_width(PANEL_PX)
        self.server.gui.set_panel_label("i2v3d studio")
        self.desk = Desk(self.server, place, Work(place.here, place.own))
        self.desk.open = self.open
        self.view = View3D(self.desk)
        self._asking = Errand("blender", self.desk.guarded(self._ask))
        self._warning = Errand("warnings", self.desk.guarded(self._warn))
        self._build(new)
        self.server.on_client_connect(self.view.welcome)
        self._ends = threading.Event()
        self._front: Front | None = None
        threading.Thread(target=self._watch_disk, daemon=True, name="studio-disk").start()

    def _build(self, new: NewScene) -> None:
        gui, desk = self.server.gui, self.desk
        self._head = gui.add_html("")
        self._steps = gui.add_button_group("", ("↶ undo", "↷ redo", "⟳ reload"))
        self._steps.on_click(desk.guarded(lambda _: self._step(self._steps.value)))
        self._warnings = gui.add_html("")
        desk.listeners.append(self.view.update)
        desk.followers.append(self.view.update)
        Timeline(desk, self.view)
        tabs = gui.add_tab_group()
        with tabs.add_tab("Scene", viser.Icon.PHOTO):
            self._mask = SceneTab(desk, self.view, new).mask
        with tabs.add_tab("Camera", viser.Icon.CAMERA):
            CameraTab(desk, self.view)
        with tabs.add_tab("Objects", viser.Icon.CUBE):
            ObjectTab(desk, self.view)
        with tabs.add_tab("Run", viser.Icon.PLAYER_PLAY):
            runs = RunTab(desk)
        with tabs.add_tab("Results", viser.Icon.MOVIE):
            self._results = ResultsTab(desk, runs)
        desk.listeners.append(self._update)
        desk.followers.append(self._warning.wish)

    # ------------------------------------------------------------ scenes
    def open(self, name: str) -> None:
        """Opens a scene in place of the present one, which stays if that fails. Raises I2V3DError."""
        # Anew: a scene may have been written beside the page.
        session = Session(self.desk.place.again(), name, self._words, self._changed)
        try:
            before, self.desk.session = self.desk.session, session
            self.desk.place = session.place
            self.view.gizmo.release()
            self._mask.end()
            session.show()
        except BaseException:
            self.desk.session = before
            session.close()
            raise
        if before is not None:
            before.close()
        for client in self.server.get_clients().values():
            self.view.welcome(client)

    def _changed(self) -> None:
        self.desk.changed()
        self._asking.wish()

    def _step(self, which: str) -> None:
        session = required(self.desk)
        self.view.gizmo.release()
        self.desk.place = self.desk.place.again()  # scenes come and go beside the page
        {"↶ undo": session.undo, "↷ redo": session.redo, "⟳ reload": session.reload}[which]()

    def _update(self) -> None:
        shown, session = self.desk.shown, self.desk.session
        if shown is None or session is None:
            return
        near = "" if shown.exact else " · Blender is asked for the curves"
        name = html.escape(str(session.document.file.relative_to(self.desk.place.here)))
        self._head.content = small(f"<code>{name}</code> · every edit is saved{near}")
        self._warning.wish()

    # ------------------------------------------------------------ in the background
    def _warn(self) -> None:
        """Says what is wrong with the frame, or with where something is being dragged."""
        shown, session = self.desk.shown, self.desk.session
        if shown is None or session is None:
            return
        index = min(self.desk.index, len(shown.views) - 1)
        inflated = session.scene["source"] == "photo" and session.scene["foreground"]["method"] == "inflate"
        self._warnings.content = "".join(
            f'<div class="studio-warning" style="margin:.2em 1em;padding:.35em .7em;border-left:3px solid #ffb020;'
            f'background:#ffb02022;font-size:.85em">{html.escape(line)}</div>'
            for line in warnings_at(shown, dict(self.view.bodies.of), index, inflated)
        )

    def _ask(self) -> None:
        """Has Blender say where objects are between keys, once edits rest."""
        if self.desk.session is not None:
            self.desk.session.asked()

    def _watch_disk(self) -> None:
        """Says so when somebody else has changed the scene's file."""
        told: object = None
        while not self._ends.wait(DISK_S):
            session = self.desk.session
            if session is None or not session.document.changed_outside():
                told = None
            elif told is not session:
                told = session
                self.desk.tell(
                    "Changed elsewhere", f"{session.document.file.name} was edited by somebody else: press reload, "
                    "nothing is overwritten until then", "yellow",
                )  # fmt: skip

    # ------------------------------------------------------------ the door
    def serve(self, door: Door) -> str:
        """Opens the door; returns the page's address. Raises MachineError as `Front.start`."""
        served = Served(
            result=lambda path: self.desk.place.result(path),
            film=lambda key, name: films.pass_film(self.desk.place, key, name),
            player=lambda run, variant: films.player(self.desk.place, run, variant),
            moment=self._moment,
            act=self._act,
        )
        self._front = Front(door, self._inside, served)
        return self._front.start()

    def _moment(self) -> dict[str, object]:
        """Where the timeline is, as the films follow it."""
        shown = self.desk.shown
        return {
            "index": self.desk.index,
            "playing": self.desk.playing,
            "fps": shown.shot.fps if shown else 1,
        }

    def _act(self, what: str, value: str) -> None:
        """Does what a click in a piece of HTML asks for. Raises InputError for anything else."""
        if what == "frame" and value.isdecimal() and len(value) < 7:
            self.desk.moved(int(value) - 1)
        elif what == "variant":
            self._results.choose(value)
        else:
            raise InputError(f"{what[:20]} {value[:80]!r} cannot be asked for here")

    def wait(self) -> None:
        """Until Ctrl-C."""
        while not self._ends.is_set():
            time.sleep(0.5)

    def close(self) -> None:
        """Ends the page; a run that it started goes on, and the next studio of this folder finds it."""
        self._ends.set()
        for end in (self._asking.end, self._warning.end, self.desk.close):
            end()
        if self._front is not None:
            self._front.stop()
        self.server.stop()
        if self.desk.session is not None:
            self.desk.session.close()
