"""Which other files a .blend reads, found without Blender: their paths stand in it as text."""

from __future__ import annotations

import functools
import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import zstandard

from i2v3d.errors import InputError

# How a .blend begins: by its name, unless it is compressed: by zstandard, or by gzip before Blender 3.0.
PLAIN, ZSTANDARD, GZIP = b"BLENDER", b"\x28\xb5\x2f\xfd", b"\x1f\x8b"
_KINDS = (
    b"png|jpg|jpeg|exr|hdr|tif|tiff|tga|bmp|webp|jp2|j2c|dds|psd|cin|dpx|rgb|sgi|iff|"  # pictures
    b"mp4|mov|avi|mkv|webm|mpg|mpeg|ogv|"  # films
    b"blend|abc|usd|usda|usdc|usdz|vdb|mdd|pc2|ies|ttf|otf|osl"  # libraries, caches, lamps, fonts, shaders
)
_END = re.compile(rb"\.(?:" + _KINDS + rb")(?=\x00)", flags=re.IGNORECASE)
_LONGEST = 1024  # bytes of a path in a .blend
_CHUNK = 1 << 24
_COUNT = re.compile(
    r"(\d+)(?=\.[^.]*$)"
)  # the number at the end of a picture's name, which a sequence counts on
_TILE = re.compile(r"<UDIM>|<UVTILE>")


def referenced_files(blend: Path) -> tuple[Path, ...]:
    """The files that a .blend and the libraries it links name, if they are there; all of a sequence, all tiles.

    Too many rather than too few: a file that is named but not shown, and pictures that are numbered like one that is
    named, count too. Raises InputError if a .blend cannot be read or unpacked.
    """
    found: dict[Path, None] = {}
    waiting = [blend.resolve()]
    while waiting:
        status = (library := waiting.pop()).stat()
        for path in _named(library, status.st_size, status.st_mtime_ns):
            if path not in found and path != blend.resolve():
                found[path] = None
                if path.suffix.lower() == ".blend":
                    waiting.append(path)
    return tuple(sorted(found))


@functools.lru_cache(maxsize=64)
def _named(blend: Path, size: int, made_ns: int) -> tuple[Path, ...]:
    """What one .blend names itself. size, made_ns: of the file, so that a changed one is read again."""
    found: set[Path] = set()
    for text in _texts(blend):
        for start in (match.start() for match in re.finditer("/", text)):
            word = text[start:]
            path = blend.parent / word[2:] if word.startswith("//") else Path(word)
            found.update(file.resolve() for file in _meant(path))
    return tuple(sorted(found))


def _texts(blend: Path) -> Iterator[str]:
    """Everything in a .blend that ends like the name of a file, with what stands before it."""
    before = b""
    try:
        with _opened(blend) as content:
            while chunk := content.read(_CHUNK):
                data = before + chunk
                for match in _END.finditer(data):
                    start = max(match.end() - _LONGEST, data.rfind(b"\x00", 0, match.start()) + 1)
                    yield data[start : match.end()].decode(errors="replace").replace("\\", "/")
                before = data[-_LONGEST:]
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise InputError(f"{blend} cannot be read ({error}); save it in Blender again") from error


def _opened(blend: Path) -> IO[bytes]:
    """The content of a .blend, decompressed."""
    with blend.open("rb") as content:
        head = content.read(4)
    if head == ZSTANDARD:
        reader = zstandard.ZstdDecompressor().stream_reader(
            blend.open("rb"), read_across_frames=True, closefd=True
        )
        return cast(IO[bytes], reader)
    return cast(IO[bytes], gzip.open(blend)) if head.startswith(GZIP) else blend.open("rb")


def _meant(path: Path) -> Iterator[Path]:
    """The files that a name stands for: itself, those numbered like it in its folder, or all tiles."""
    if _TILE.search(path.name):
        pattern = _TILE.sub(r"\\d+", re.escape(path.name))
    elif match := _COUNT.search(path.name):
        pattern = rf"{re.escape(path.name[: match.start()])}\d+{re.escape(path.name[match.end() :])}"
    else:
        pattern = re.escape(path.name)
    try:
        if path.parent.is_dir():
            yield from (p for p in path.parent.iterdir() if re.fullmatch(pattern, p.name) and p.is_file())
    except (OSError, ValueError):
        return  # no path that could be one: what only looks like a name
