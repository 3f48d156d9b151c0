"""A report's files appear together, and over those of an earlier one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing_contents(out: Path) -> Iterator[Path]:
    """A folder to write into; at the end of the block all of it moves into `out`, over what is there by that name.

    If the block raises, `out` stays as it is.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".") as temporary:
        yield Path(temporary)
        for path in sorted(Path(temporary).iterdir()):
            there = out / path.name
            if there.is_dir() and not there.is_symlink():
                shutil.rmtree(there)
            path.replace(there)
