"""What all parts of the page share: the viser server, the open scene, the frame, and how mistakes are told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import viser

from i2v3d.errors import ConfigError, I2V3DError
from i2v3d.studio.errand import Errand, Settling
from i2v3d.studio.place import Place
from i2v3d.studio.session import Session
from i2v3d.studio.shown import Shown
from i2v3d.studio.work import Work

log = logging.getLogger(__name__)
SETTLED_S = 0.5  # after the last movement of a gizmo or slider, until it is written


class Desk:
    """server: viser's. open: opens a scene by name, in place of the present one.

    listeners: called when scene, results or draft are others; followers: those of them that also show the frame, and
    are called when that alone is another. Both are called one after the other in one thread, of the latest state:
    whoever clicks or plays does not wait for them.
    """

    def __init__(self, server: viser.ViserServer, place: Place, work: Work) -> None:
        self.server, self.place, self.work = server, place, work
        self.session: Session | None = None
        self.index = 0  # of the frame, from 0
        self.playing = False
        self.made: tuple[int, ...] = ()  # frames, from 1, whose keyframes the shown variant has generated
        # While something is dragged: the scene as it would be, not yet written.
        self.draft: Shown | None = None
        self.listeners: list[Callable[[], None]] = []
        self.followers: list[Callable[[], None]] = []
        self.open: Callable[[str], None] = lambda name: None
        self._everything = False
        self._drawing = Errand("draw", self._draw)
        self._settling = Settling(SETTLED_S)

    @property
    def shown(self) -> Shown | None:
        return self.draft or (self.session.shown if self.session else None)

    @property
    def frame(self) -> int:
        """The present one of the timeline."""
        shown = self.shown
        return self.index + (shown.shot.start_frame if shown else 1)

    def changed(self) -> None:
        """Has every part show the present state, which is written."""
        self.draft = None
        self._everything = True
        self._drawing.wish()

    def moved(self, index: int) -> None:
        """Goes to a frame, counted from 0, as far as the shot has one."""
        shown = self.shown
        self.index = max(0, min(index, len(shown.views) - 1)) if shown else 0
        self._drawing.wish()

    def drafted(self, draft: Shown) -> None:
        """Shows what would be, until something is written."""
        self.draft = draft
        self._drawing.wish()

    def _draw(self) -> None:
        everything, self._everything = self._everything, False
        for listener in self.listeners if everything else self.followers:
            self.guarded(listener)()

    def guarded(self, act: Callable[..., None]) -> Callable[..., None]:
        """`act`, whose errors are told on the page in their one line."""

        def safe(*arguments: Any) -> None:
            try:
                act(*arguments)
            except I2V3DError as error:
                self.tell("That cannot be", str(error), "red")
            except Exception as error:  # told here: viser would only write it to the terminal
                log.exception("the studio failed")
                self.tell(
                    "A defect of the studio",
                    f"{type(error).__name__}: {error}; the terminal says where",
                    "red",
                )

        return safe

    def tell(self, title: str, body: str, color: Any = "blue") -> None:
        """A message on every open page."""
        log.info("%s: %s", title, body)
        for client in self.server.get_clients().values():
            client.add_notification(title, body, color=color, auto_close_seconds=12.0)

    def settled(self, act: Callable[[], None]) -> None:
        """Does `act` once nothing was moved for a while; a later call takes its place."""
        self._settling.then(self.guarded(lambda: self._write(act)))

    def _write(self, act: Callable[[], None]) -> None:
        try:
            act()
        except I2V3DError:
            self.changed()  # back to what is written
            raise

    def close(self) -> None:
        """Draws nothing more."""
        self._drawing.end()


def required(desk: Desk) -> Session:
    """The open scene. Raises ConfigError if none is."""
    if desk.session is None:
        raise ConfigError("no scene is open; choose one, or start from a photo")
    return desk.session


def small(text: str) -> str:
    """HTML of a remark."""
    return f'<div style="padding:0 1em;font-size:.82em;opacity:.8">{text}</div>'
