"""The page's timeline: one slider moves camera, objects and films; ◆ are the camera's keys, ● generated keyframes."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import viser

from i2v3d.studio.camera_edits import euler_deg
from i2v3d.studio.desk import Desk, small
from i2v3d.studio.shown import Shown
from i2v3d.studio.view3d import View3D

FIRST, PLAY, STOP, LAST = "◀ first", "▶ play", "■ stop", "last ▶"
CAMERA_KEY, MADE, BOTH = "◆", "●", "◆●"


class Timeline:
    """The slider, and play."""

    def __init__(self, desk: Desk, view: View3D) -> None:
        self._desk, self._view = desk, view
        self._slider: Any = None
        self._drawn: object = None
        self._slid = 0  # which frame the slider and this program agree on, from 0
        self._plays = threading.Event()
        panel = desk.server.gui.add_panel()
        self._tab = panel.add_tab("Timeline", viser.Icon.TIMELINE)
        panel.float(x=16, y=-16, width=540)
        with self._tab:
            self._where = desk.server.gui.add_html("", order=0)
            self._buttons = desk.server.gui.add_button_group("", (FIRST, PLAY, STOP, LAST), order=2)
            self._through = desk.server.gui.add_checkbox("look through the camera", False, order=3)
        self._buttons.on_click(lambda _: self._pressed(self._buttons.value))
        self._through.on_update(lambda _: self._look())
        threading.Thread(target=self._play, daemon=True, name="studio-play").start()
        desk.listeners.append(self.update)
        desk.followers.append(self.update)

    def update(self) -> None:
        """Shows the frame, and the keys as marks."""
        shown, session = self._desk.shown, self._desk.session
        if shown is None or session is None:
            return
        self._desk.index = min(self._desk.index, len(shown.views) - 1)
        self._draw_slider(
            shown, [key["frame"] for key in (session.scene.get("camera") or {}).get("keys", [])]
        )
        if self._slid != self._desk.index:  # not where the slider itself has gone: it may be further by now
            self._slid = self._desk.index
            self._slider.value = self._desk.frame
        view = shown.views[self._desk.index]
        x, y, z = view.c2w[:3, 3]
        tilt, _, turn = euler_deg(view.c2w)
        fov = 2 * np.degrees(np.arctan(shown.size[0] / 2 / view.focal_px))
        seconds = self._desk.index / shown.shot.fps
        self._where.content = small(
            f"{seconds:.2f} s · camera at {x:.2f}, {y:.2f}, {z:.2f} m · pitch {tilt - 90:.1f}°, "
            f"heading {0.0 - turn:.1f}° · view {fov:.1f}°"
        )

    def _draw_slider(self, shown: Shown, keys: list[int]) -> None:
        first, last = shown.shot.start_frame, shown.shot.last_frame
        made = {frame + first - 1 for frame in self._desk.made}
        marks = tuple(
            (frame, BOTH if frame in made and frame in keys else MADE if frame in made else CAMERA_KEY)
            for frame in sorted(made.union(keys))
            if first <= frame <= last
        )
        if (first, last, marks) == self._drawn:
            return
        if self._slider is not None:
            self._slider.remove()
        with self._tab:
            self._slider = self._desk.server.gui.add_slider(
                "frame", first, max(last, first + 1), 1, self._desk.frame, marks=marks, order=1
            )
        self._slider.on_update(lambda _: self._moved())
        self._drawn, self._slid = (first, last, marks), self._desk.index

    def _moved(self) -> None:
        shown = self._desk.shown
        if shown is not None:
            self._slid = int(self._slider.value) - shown.shot.start_frame
            if self._slid != self._desk.index:
                self._desk.moved(self._slid)

    def _pressed(self, which: str) -> None:
        shown = self._desk.shown
        self._set_playing(which == PLAY)
        if shown is not None and which in (FIRST, LAST):
            self._desk.moved(0 if which == FIRST else len(shown.views) - 1)

    def _set_playing(self, plays: bool) -> None:
        self._desk.playing = plays
        if plays:
            self._plays.set()
        else:
            self._plays.clear()

    def _look(self) -> None:
        self._view.through = self._through.value
        if not self._through.value:
            for client in self._desk.server.get_clients().values():
                self._view.welcome(client)
        self._desk.changed()

    def _play(self) -> None:
        """Goes on in real time, whatever drawing takes: frames that nobody had time for are left out."""
        while True:
            self._plays.wait()
            began, start = time.monotonic(), self._desk.index
            shown_last = start
            while self._plays.is_set():
                shown = self._desk.shown
                if shown is None:
                    self._set_playing(False)
                    break
                if self._desk.index != shown_last:  # somebody went elsewhere: on from there
                    began, start = time.monotonic(), self._desk.index
                passed = int((time.monotonic() - began) * shown.shot.fps + 1e-6)
                shown_last = (start + passed) % len(shown.views)
                if shown_last != self._desk.index:
                    self._desk.moved(shown_last)
                time.sleep(max(0.0, began + (passed + 1) / shown.shot.fps - time.monotonic()))
