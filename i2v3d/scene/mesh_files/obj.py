"""Checks of a Wavefront OBJ file and its material libraries."""

from __future__ import annotations

import re
import warnings
from codecs import BOM_UTF8
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from i2v3d.errors import InputError
from i2v3d.scene.mesh_files.facts import (
    MeshFacts,
    Offset,
    check_count,
    check_indices,
    check_picture,
    check_positions,
    companion,
    far_offset,
    find_companion,
)

BYTES_FROM = 2.0  # colours beyond it are meant as 0..255

# Statements whose picture the renders show; the others are for shading that they leave out.
SHOWN_WORDS = ("map_kd", "map_d", "map_ke")
OTHER_WORDS = ("map_ka", "map_ks", "map_ns", "map_bump", "map_pr", "map_pm", "map_ps", "bump", "disp", "decal", "refl",
               "norm", "map_kn", "map_disp", "map_tr", "map_refl")  # fmt: skip
# Options of a texture statement and how many values each has. Source: Wavefront MTL, texture map statements.
_OPTION_VALUES = {b"-mm": 2, b"-o": 3, b"-s": 3, b"-t": 3}


def read_obj(path: Path, max_faces: int) -> MeshFacts:
    """Checks an OBJ; see `check_mesh`. Faces with several corners count as fans of triangles."""
    text = _text(path)
    if b"\0" in text:
        raise InputError(f"mesh {path} is damaged: it holds zero bytes; export it again")
    positions = _positions(path, text)
    faces = re.findall(rb"^[ \t]*f[ \t]+([^\n#]*)", text, flags=re.MULTILINE)
    check_count(path, len(faces), max_faces)
    triangles = _check_faces(path, text, faces, len(positions))
    statements = re.findall(rb"^[ \t]*mtllib[ \t]+([^\n#]+)", text, flags=re.MULTILINE)
    libraries = [found for statement in statements for found in _libraries(path, statement)]
    colours = vertex_colours(text)
    return MeshFacts(
        triangles,
        len(positions),
        tuple(_materials(libraries)),
        offset=far_offset(positions),
        rewrite=len(libraries) > len(statements)
        or (colours is not None and _strays(colours))
        or any(_is_marked(file) for file in (path, *libraries)),
    )


def _text(path: Path) -> bytes:
    """The lines of a file: without a mark of byte order, carriage returns and breaks that a backslash takes back."""
    return path.read_bytes().removeprefix(BOM_UTF8).replace(b"\r", b"").replace(b"\\\n", b" ")


def _is_marked(path: Path) -> bool:
    """Whether a file begins with a mark of byte order, which Blender takes for a part of its first word."""
    with path.open("rb") as stream:
        return stream.read(len(BOM_UTF8)) == BOM_UTF8


def unmark(library: Path) -> None:
    """Takes the mark of byte order off a copied material library."""
    library.write_bytes(library.read_bytes().removeprefix(BOM_UTF8))


def vertex_colours(text: bytes) -> NDArray[np.float64] | None:
    """The colours (m, 3) behind the positions of those vertices that have one; None if none has."""
    rows = re.findall(
        rb"^[ \t]*v" + rb"[ \t]+(?:\S+)" * 3 + rb"[ \t]+(\S+)" * 3 + rb"[ \t]*$", text, flags=re.MULTILINE
    )
    try:
        return np.array(rows).astype(np.float64) if rows else None
    except ValueError:
        return None


def _strays(colours: NDArray[np.float64]) -> bool:
    return bool(colours.min() < 0 or colours.max() > 1 or not np.isfinite(colours).all())


def rewritten(path: Path, offset: Offset) -> bytes:
    """The file's text with `offset` taken off every position, colours brought to 0..1 (255 means 1) or left out if one
    is no number, and one library a statement: what Blender's importer takes."""
    text = _text(path)
    colours = vertex_colours(text)
    scale = 1.0 if colours is None or colours.max() <= BYTES_FROM else 1 / 255
    lines = []
    for line in text.split(b"\n"):
        words = line.split()
        if words[:1] == [b"v"]:
            position = [float(word) - shift for word, shift in zip(words[1:4], offset, strict=True)]
            rest = [float(word) for word in words[4:7]] if colours is not None and len(words) == 7 else []
            colour = np.clip(np.nan_to_num(np.array(rest)) * scale, 0, 1).tolist()
            line = b"v " + " ".join(repr(value) for value in (*position, *colour)).encode()
        elif words[:1] == [b"mtllib"]:
            named = _libraries(path, line.split(maxsplit=1)[1])
            folder = path.parent.resolve()
            line = b"\n".join(f"mtllib {file.relative_to(folder)}".encode() for file in named)
        lines.append(line)
    return b"\n".join(lines)


def _positions(path: Path, text: bytes) -> NDArray[np.float64]:
    """The vertex positions (n, 3), without weights or colours behind them."""
    rows = re.findall(rb"^[ \t]*v[ \t]+(\S+)[ \t]+(\S+)[ \t]+(\S+)", text, flags=re.MULTILINE)
    stated = len(re.findall(rb"^[ \t]*v(?=[ \t\n])", text, flags=re.MULTILINE))
    if not stated:
        raise InputError(f"mesh {path} holds no vertices, so it is no OBJ file; export it again as that")
    try:
        if len(rows) < stated:
            raise ValueError("a vertex has fewer than three numbers")
        positions = np.array(rows).astype(np.float64)
    except ValueError as error:
        raise InputError(f"mesh {path} is truncated or damaged ({error}); export it again") from error
    check_positions(path, positions)
    return positions


def _check_faces(path: Path, text: bytes, faces: list[bytes], vertices: int) -> int:
    """Checks every corner's vertex; returns the number of triangles."""
    short = next((row for row in faces if len(row.split()) < 3), None)
    if short is not None:
        shown = f"f {short.decode(errors='replace').strip()}"
        raise InputError(f"mesh {path} is truncated or damaged: {shown!r} has no 3 corners; export it again")
    corners = re.sub(rb"/\S*", b"", b" ".join(faces))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error", DeprecationWarning
            )  # what numpy says about words that are no numbers
            numbers = np.fromstring(corners, dtype=np.int64, sep=" ")
    except (ValueError, DeprecationWarning) as error:
        raise InputError(f"mesh {path} has faces that are no numbers ({error}); export it again") from error
    if (numbers == 0).any():
        raise InputError(f"mesh {path} refers to vertex 0, but OBJ counts from 1; repair it")
    if (numbers < 0).any():
        _check_relative(path, text)
    check_indices(path, numbers[numbers > 0] - 1, vertices)
    return len(numbers) - 2 * len(faces)


def _check_relative(path: Path, text: bytes) -> None:
    """Raises InputError if a negative index reaches before the first vertex that stands above it."""
    seen = 0
    for line in text.split(b"\n"):
        words = line.split()
        if words[:1] == [b"v"]:
            seen += 1
        elif words[:1] == [b"f"]:
            low = min(int(word.split(b"/")[0]) for word in words[1:])
            if low < -seen:
                raise InputError(f"mesh {path} refers to vertex {low} of {seen} before it; repair it")


def _libraries(path: Path, statement: bytes) -> list[Path]:
    """The files of one statement: one name with blanks in it, or several names."""
    whole = statement.decode(errors="replace").strip()
    found = find_companion(path, whole)
    if found is not None:
        return [found]
    words = whole.split()
    if len(words) > 1 and all(find_companion(path, word) for word in words):
        return [companion(path, word, "material library") for word in words]
    return [companion(path, whole, "material library")]


def _materials(libraries: Iterable[Path]) -> Iterable[Path]:
    """Material libraries and the textures that they name; those that the renders show are checked."""
    found: dict[Path, None] = {}
    for library in libraries:
        found[library] = None
        for line in _text(library).split(b"\n"):
            words = line.split()
            keyword = words[0].decode(errors="replace").lower() if len(words) > 1 else ""
            if keyword in SHOWN_WORDS:
                name = _texture_name(words[1:])
                texture = companion(library, name, "texture")
                check_picture(library, name, texture.read_bytes())
                found[texture] = None
            elif keyword in OTHER_WORDS:
                beside = find_companion(library, _texture_name(words[1:]))
                found |= {beside: None} if beside is not None else {}
    return found


def _texture_name(words: list[bytes]) -> str:
    """The file name of a texture statement, behind its options; it may hold spaces."""
    at = 0
    while at < len(words) - 1 and words[at].startswith(b"-") and not words[at][1:2].isdigit():
        at += 1 + _OPTION_VALUES.get(words[at], 1)
    return b" ".join(words[min(at, len(words) - 1) :]).decode(errors="replace")
