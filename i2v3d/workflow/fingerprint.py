"""What a file or folder contains, as a hash; remembered by path, size and time so that it is read once."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from i2v3d.artifacts.files import write_json
from i2v3d.errors import InputError

log = logging.getLogger(__name__)


class Fingerprints:
    """SHA-256 of files and folders, memoised in one JSON file.

    An entry is reused while the file's size and modification time (in nanoseconds) stay the same.
    """

    def __init__(self, memo: Path) -> None:
        self._memo = memo
        self._known: dict[str, str] = {}
        self._dirty = False
        self._folders: dict[Path, str] = {}  # asked for again and again while one plan is made
        if memo.is_file():
            try:
                self._known = dict(json.loads(memo.read_text()))
            except (OSError, ValueError, TypeError) as error:
                log.warning("%s is broken (%s) and is made anew", memo, error)

    def of(self, path: str, what: str) -> str:
        """The hash of a file, or of a folder's files with their relative names.

        what: the option that names the path, for the message. Raises InputError if nothing is there.
        """
        target = Path(path)
        if target.is_file():
            return self._file(target, what)
        if not target.is_dir():
            raise InputError(f"{what} names {path}, which does not exist; correct the path")
        if target in self._folders:
            return self._folders[target]
        digest = hashlib.sha256()
        for file in sorted(p for p in target.rglob("*") if p.is_file() and not p.name.startswith(".")):
            digest.update(f"{file.relative_to(target)}={self._file(file, what)}\n".encode())
        self._folders[target] = digest.hexdigest()
        return self._folders[target]

    def save(self) -> None:
        """Writes the memo if anything was added. Raises ArtifactError if it cannot be written."""
        if not self._dirty:
            return
        write_json(self._memo, self._known, sort_keys=True)
        self._dirty = False

    def _file(self, path: Path, what: str) -> str:
        try:
            status = path.stat()
            name = f"{path.resolve()}:{status.st_size}:{status.st_mtime_ns}"
            if name not in self._known:
                with path.open("rb") as content:
                    self._known[name] = hashlib.file_digest(content, "sha256").hexdigest()
                self._dirty = True
        except OSError as error:
            raise InputError(
                f"{what}: {path} cannot be read ({error.strerror}); check its permissions"
            ) from error
        return self._known[name]
