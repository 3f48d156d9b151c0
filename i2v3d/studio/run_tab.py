"""The page's runs: preview, generate, cancel, and how far they are. They live on without any page."""

from __future__ import annotations

import html
import shlex
import threading
import time

import viser

from i2v3d.config.names import check_name
from i2v3d.errors import ConfigError, I2V3DError
from i2v3d.studio.desk import Desk, required, small
from i2v3d.studio.errand import Settling
from i2v3d.studio.work import Kind, Progress

LOOK_S = 0.5  # between two looks at a run's log
TYPED_S = 0.8  # after the last letter of the options, until they are taken
COLOURS = {"running": "blue", "finished": "green", "failed": "red", "cancelled": "yellow"}


class RunTab:
    """What a run is told, its buttons and its state."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        gui = desk.server.gui
        self._state = gui.add_html("")
        self._bar = gui.add_progress_bar(0.0, visible=False)
        self._line = gui.add_html("")
        preview = gui.add_button(
            "Preview", icon=viser.Icon.EYE, hint="coarse, before any network", color="gray"
        )
        generate = gui.add_button("Generate", icon=viser.Icon.PLAYER_PLAY, hint="the whole run")
        self._cancel = gui.add_button("Cancel", icon=viser.Icon.PLAYER_STOP, color="red", visible=False)
        self._run = gui.add_text("run", "", hint="results/RUN")
        self._words = gui.add_text("options", "", hint="Hydra words, such as seed=1 keyframes.guidance=5")
        self._command = gui.add_html("")
        preview.on_click(desk.guarded(lambda _: self._start("preview")))
        generate.on_click(desk.guarded(lambda _: self._start("generate")))
        self._cancel.on_click(desk.guarded(lambda _: desk.work.cancel()))
        self._run.on_update(lambda _: self.update())
        self._typing = Settling(TYPED_S)
        self._words.on_update(lambda _: self._typing.then(desk.guarded(self._take)))
        self._told: Progress | None = None
        self._scene = ""
        self._taken: tuple[str, ...] = ()  # the options that the field and the scene agree on
        desk.listeners.append(self.update)
        threading.Thread(target=self._watch, daemon=True, name="studio-runs").start()

    def _take(self) -> None:
        """Has the scene composed with the options of the page."""
        session = required(self._desk)
        try:
            words = shlex.split(self._words.value)
        except ValueError as error:
            raise ConfigError(
                f"options {self._words.value!r} cannot be read ({error}); close the quotation"
            ) from error
        check_words(words)
        if tuple(words) != session.words:
            before, self._taken = self._taken, tuple(words)
            try:
                session.tell_words(words)
            except I2V3DError:
                self._taken = before  # what was typed stays, to be corrected
                raise

    def _start(self, kind: Kind) -> None:
        session = required(self._desk)
        self._take()
        run = check_name(self._run.value, "run")
        self._desk.work.start(kind, run, session.all_words())
        self._desk.tell("Started", f"{kind} of {session.name}, into results/{run}", "blue")
        self._look()

    def redo(self, words: list[str]) -> None:
        """Adds words to the options and generates."""
        session = required(self._desk)
        options = {word.split("=")[0] for word in words}
        kept = [word for word in session.words if word.split("=")[0] not in options]
        session.tell_words([*kept, *words])
        self._show_words()
        self._start("generate")

    def update(self) -> None:
        """Shows what a run would be told."""
        session = self._desk.session
        if session is None:
            return
        if session.name != self._scene:
            self._scene = session.name
            self._run.value = session.name
        self._show_words()
        words = html.escape(shlex.join([*session.all_words(), f"run={self._run.value}"]))
        self._command.content = small(f"the same by hand: <code>i2v3d {words}</code>")

    def _show_words(self) -> None:
        """Has the field say what the scene is told, if somebody else than the field has told it."""
        words = required(self._desk).words
        if words != self._taken:
            self._taken, self._words.value = words, shlex.join(words)

    def _watch(self) -> None:
        while True:
            self._desk.guarded(self._look)()
            time.sleep(LOOK_S)

    def _look(self) -> None:
        now = self._desk.work.progress()
        before, self._told = self._told, now
        if now == before:
            return
        self._cancel.visible = now.state == "running"
        self._bar.visible = now.state != "idle"
        self._bar.value, self._bar.animated = round(100 * now.share, 1), now.state == "running"
        self._bar.color = COLOURS.get(now.state, "gray")
        self._state.content = told(now)
        self._line.content = small(html.escape(now.error if now.state == "failed" else now.line))
        if before is not None and before.state == "running" and now.state != "running":
            colour = COLOURS[now.state]
            self._desk.tell(f"{now.kind} {now.state}", now.error or f"results/{now.run}", colour)
            self._desk.changed()


def told(now: Progress) -> str:
    """A run's state as HTML."""
    if now.state == "idle":
        return small("nothing runs")
    jobs = f"{now.done} of {now.total} jobs" if now.total else "planning"
    left = f" · about {clock(now.left_s)} left" if now.left_s is not None else ""
    stage = f" · {html.escape(now.stage)}" if now.stage and now.state == "running" else ""
    bar = f" {now.bar:.0%}" if now.bar is not None and now.state == "running" else ""
    return (
        f'<div style="padding:0 1em" data-state="{now.state}"><b>{now.kind} {html.escape(now.run)}: {now.state}</b>'
        f'<div style="font-size:.85em;opacity:.85">{jobs}{stage}{bar} · {clock(now.elapsed_s)}{left}</div></div>'
    )


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def check_words(words: list[str]) -> None:
    """Raises ConfigError for words of a page that are no options: they choose neither scene nor run, reach into no
    environment, and hand nothing to snakemake."""
    for word in words:
        name = word.split("=")[0].lstrip("+~")
        if "=" not in word or word.startswith("-") or "${" in word:
            raise ConfigError(f"{word!r} is no option; expected words such as seed=1, without ${{}}")
        if name in ("scene", "run", "hydra") or name.startswith("hydra."):
            raise ConfigError(f"{word!r} is chosen elsewhere on this page; leave it out of the options")
        if "command" in word:
            raise ConfigError(
                f"{word!r} may run a program; write it into the scene's file by hand if you trust it"
            )
