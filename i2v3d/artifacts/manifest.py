"""What a published folder consists of: size, time and SHA-256 of every file, so that a changed one is noticed.

Files whose size and time are as they were count as unchanged; others, of a copied cache for example, are read.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from i2v3d.errors import ArtifactError

MANIFEST = ".manifest.json"
HASHES_AT_ONCE = 4


def write_manifest(folder: Path) -> None:
    """Records the files of a folder that nobody changes any more. Raises OSError."""
    files = list(_files(folder))
    with ThreadPoolExecutor(HASHES_AT_ONCE) as pool:
        hashes = list(pool.map(_hash, files))
    record = {
        str(file.relative_to(folder)): [(status := file.stat()).st_size, status.st_mtime_ns, digest]
        for file, digest in zip(files, hashes, strict=True)
    }
    (folder / MANIFEST).write_text(json.dumps(record, indent=0) + "\n")


def damaged_files(folder: Path) -> list[str]:
    """The files of a published folder that are missing or hold something else, with what is wrong.

    A folder of a version that wrote no manifest is taken as it is.
    """
    try:
        record = json.loads((folder / MANIFEST).read_bytes())
        known = {
            str(name): (int(size), int(time), str(digest)) for name, (size, time, digest) in record.items()
        }
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return [f"{MANIFEST} cannot be read ({error})"]
    return [f"{name} {wrong}" for name, facts in known.items() if (wrong := _wrong(folder / name, *facts))]


@functools.cache
def require_undamaged(folder: Path) -> None:
    """Looks at a published folder once a process; one that changed is moved aside, so that it is made anew.

    Raises ArtifactError naming what changed, and what to do if it could not be moved.
    """
    damaged = damaged_files(folder)
    if not damaged:
        return
    more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
    aside = folder.with_name(f".{folder.name}.damaged-{os.getpid()}")
    try:
        folder.rename(aside)
        done = f"it lies in {aside} now"
    except FileNotFoundError:  # another job was faster
        done = "it was moved aside"
    except OSError:
        done = f"remove it by `rm -r {shlex.quote(str(folder))}`"
    raise ArtifactError(
        f"{folder} is not as it was made: {damaged[0]}{more}; {done}, run the same command again to make it anew"
    )


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.name != MANIFEST:
            yield path


def _hash(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _wrong(path: Path, size: int, time_ns: int, digest: str) -> str | None:
    """What is wrong with a file; None if it is as recorded."""
    try:
        status = path.stat()
        if status.st_size != size:
            return f"has {status.st_size} bytes instead of {size}"
        if status.st_mtime_ns == time_ns:
            return None
        if _hash(path) != digest:
            return "holds something else"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    with suppress(OSError):  # it is somebody else's, and will be read again the next time
        os.utime(path, ns=(status.st_atime_ns, time_ns))
    return None
