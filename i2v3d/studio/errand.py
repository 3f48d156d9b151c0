"""Work that must not keep a click or the timeline waiting: in a thread of its own, of the latest state only."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Errand:
    """Does `act` after each wish. Wishes that come while it is at work are one, so that it never falls behind.

    act: must not raise; it reads by itself what is to be done now.
    """

    def __init__(self, name: str, act: Callable[[], None]) -> None:
        self._act, self._wanted, self._ends = act, threading.Event(), False
        threading.Thread(target=self._serve, daemon=True, name=f"studio-{name}").start()

    def wish(self) -> None:
        """Returns at once."""
        self._wanted.set()

    def end(self) -> None:
        """Nothing is done from now on; what is under way is finished."""
        self._ends = True
        self._wanted.set()

    def _serve(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._ends:
                return
            self._act()


class Settling:
    """Does the last of several acts once none has come for `rest_s` seconds, such as while somebody types or drags."""

    def __init__(self, rest_s: float) -> None:
        self._rest_s = rest_s
        self._timer: threading.Timer | None = None

    def then(self, act: Callable[[], None]) -> None:
        """Returns at once; `act` takes the place of one that still waits. act: must not raise."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(self._rest_s, act)
        self._timer.daemon = True
        self._timer.start()
