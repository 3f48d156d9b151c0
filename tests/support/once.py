"""What takes long to make is made once, also where several workers run the tests."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name` below what all workers of this session share, filled by the first that asks.

    The others wait. make: fills the folder, which does not exist yet. What it raises is raised in every worker.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, finished, failed = base / name, base / f"{name}.finished", base / f"{name}.failed"
    with FileLock(base / f"{name}.lock"):
        if failed.exists():
            raise AssertionError(failed.read_text())
        if not finished.exists():
            try:
                make(folder)
            except BaseException as error:
                failed.write_text(str(error))
                raise
            finished.touch()
    return folder


def written_once(write: Callable[[Path], None]) -> Callable[[Path], None]:
    """A function that writes into any folder what `write`, called once a process, writes into an empty one."""

    @functools.cache
    def files() -> dict[Path, bytes]:
        with TemporaryDirectory() as folder:
            write(Path(folder))
            paths = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
            return {path.relative_to(folder): path.read_bytes() for path in paths}

    @functools.wraps(write)
    def again(folder: Path) -> None:
        for name, content in files().items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    return again
