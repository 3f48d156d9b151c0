"""conf/scene/NAME.yaml while it is edited: every edit is on disk at once, can be undone, and overwrites nobody's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from i2v3d.artifacts.files import write_text
from i2v3d.config.names import check_name
from i2v3d.config.yaml_files import read_yaml
from i2v3d.errors import ConfigError, I2V3DError
from i2v3d.studio.yaml_edit import Edit, edited

DEPTH = 200  # edits that can be undone


class SceneDocument:
    """The file of one scene. lock: a file that keeps studios of several processes apart."""

    def __init__(self, conf: Path, name: str, lock: Path) -> None:
        """conf: the project's folder of configuration. Raises ConfigError for a bad name, or a file that is not there
        or no YAML."""
        self.name = check_name(name, "scene")
        self.file = conf / "scene" / f"{self.name}.yaml"
        if not self.file.is_file():
            raise ConfigError(f"{self.file} does not exist; make it with: i2v3d new {name} --image PHOTO")
        read_yaml(self.file)
        lock.parent.mkdir(parents=True, exist_ok=True)
        self._lock, self._threads = FileLock(lock), threading.RLock()
        self.text = self.file.read_text(encoding="utf-8")
        self._undo: list[str] = []
        self._redo: list[str] = []

    @property
    def can_undo(self) -> bool:
        return bool(self._undo)

    @property
    def can_redo(self) -> bool:
        return bool(self._redo)

    def changed_outside(self) -> bool:
        """Whether somebody else has written the file since it was read or written here."""
        with self._threads:
            return not self.file.is_file() or self.file.read_text(encoding="utf-8") != self.text

    def reload(self) -> None:
        """Takes what is on disk; undo leads back. Raises ConfigError if it is no YAML."""
        with self._threads:
            read_yaml(self.file)
            if self.changed_outside():
                self._remember(self.text)
                self.text = self.file.read_text(encoding="utf-8")

    def edit(self, edits: Sequence[Edit], resolved: Any, accept: Callable[[], None]) -> None:
        """Writes edits. resolved: as of `edited`. accept: called once they are on disk; if it raises, they are taken
        back. Raises ConfigError if somebody else has changed the file, which stays as it is then."""
        with self._threads:
            before = self.text
            self._write(edited(before, edits, resolved), accept)
            if self.text != before:
                self._remember(before)

    def undo(self, accept: Callable[[], None]) -> None:
        """Takes the last edit back, if there is one. Raises ConfigError as `edit`."""
        self._step(self._undo, self._redo, accept)

    def redo(self, accept: Callable[[], None]) -> None:
        """Makes the last edit that was taken back again. Raises ConfigError as `edit`."""
        self._step(self._redo, self._undo, accept)

    def _step(self, source: list[str], other: list[str], accept: Callable[[], None]) -> None:
        with self._threads:
            if source:
                before = self.text
                self._write(source[-1], accept)
                source.pop()
                other.append(before)

    def _remember(self, text: str) -> None:
        self._undo = [*self._undo, text][-DEPTH:]
        self._redo = []

    def _write(self, text: str, accept: Callable[[], None]) -> None:
        with self._lock:
            if self.changed_outside():
                raise ConfigError(
                    f"{self.file} was changed by somebody else since it was read here; nothing was overwritten: "
                    "reload it, and edit again"
                )
            before = self.text
            write_text(self.file, text)
            self.text = text
            try:
                accept()
            except I2V3DError:
                write_text(self.file, before)
                self.text = before
                raise
