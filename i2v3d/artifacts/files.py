"""Single files that appear whole or not at all, also when a process is killed or the power fails."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from i2v3d.errors import ArtifactError

T = TypeVar("T")


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yields a sibling of `path` to write into, which takes its place at the end; makes the folder.

    A reader sees the old file or the new one, never a part. The file is as readable as its folder. durable: it is on
    the disk before its name is, so that this holds after a power failure, too; without, a memo that is made anew when
    it cannot be read need not wait for the disk. On an error the sibling is removed and `path` stays as it was.
    Raises ArtifactError if the disk is full or the folder cannot be written.
    """
    sibling = path.with_name(f".{path.name}.tmp-{platform.node()}-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield sibling
            sibling.chmod(sibling.stat().st_mode | path.parent.stat().st_mode & 0o444)
            if durable:
                flush(sibling)
            sibling.replace(path)
            if durable:
                flush(path.parent)
        finally:
            sibling.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise ArtifactError(f"cannot write {path} ({reason}); free or unlock the disk") from error


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Writes a text file (UTF-8) as `replacing` does."""
    with replacing(path, durable=durable) as sibling:
        sibling.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, *, sort_keys: bool = False) -> None:
    """Writes plain data as `replacing` does. Raises ArtifactError if a number in it is not finite."""
    try:
        text = json.dumps(value, indent=1, sort_keys=sort_keys, allow_nan=False)
    except ValueError as error:
        raise ArtifactError(f"{path} would hold a number that is not finite ({error}); correct it") from error
    write_text(path, text + "\n")


def read_json(path: Path) -> Any:
    """Plain data of a JSON file. Raises ArtifactError if it is missing or none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path} cannot be read ({error}); delete {path.parent} and re-run its stage"
        ) from error


def read_as(path: Path, kind: type[T], what: str) -> T:
    """A JSON file as the dataclass `kind`, every field of its type, lists as tuples. what: names it in errors.

    Raises ArtifactError naming the first field that is missing or wrong.
    """
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes(), strict=True)
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read ({error}); delete {path.parent} and re-run its stage"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = f"{where}: {first['msg']}" if where else first["msg"]
        raise ArtifactError(
            f"{path} is not {what} ({reason}); delete {path.parent} and re-run its stage"
        ) from error


def flush(path: Path) -> None:
    """Brings a file, or the names in a folder, onto the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
