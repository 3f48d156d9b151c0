"""Checks of a Wavefront OBJ file and its material libraries."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from i2v3d.errors import InputError
from i2v3d.scene.mesh_files.facts import (
    MeshFacts,
    check_count,
    check_indices,
    check_picture,
    check_positions,
    companion,
)

TEXTURE_WORDS = ("bump", "disp", "decal", "refl", "norm")
# Options of a texture statement and how many values each has. Source: Wavefront MTL, texture map statements.
_OPTION_VALUES = {b"-mm": 2, b"-o": 3, b"-s": 3, b"-t": 3}


def read_obj(path: Path, max_faces: int) -> MeshFacts:
    """Checks an OBJ; see `check_mesh`. Faces with several corners count as fans of triangles."""
    text = path.read_bytes().replace(b"\r", b"").replace(b"\\\n", b" ")
    if b"\0" in text:
        raise InputError(f"mesh {path} is damaged: it holds zero bytes; export it again")
    positions = _positions(path, text)
    faces = re.findall(rb"^[ \t]*f[ \t]+([^\n#]*)", text, flags=re.MULTILINE)
    check_count(path, len(faces), max_faces)
    triangles = _check_faces(path, text, faces, len(positions))
    libraries = re.findall(rb"^[ \t]*mtllib[ \t]+([^\n#]+)", text, flags=re.MULTILINE)
    return MeshFacts(triangles, len(positions), tuple(_materials(path, libraries)))


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


def _materials(path: Path, libraries: Iterable[bytes]) -> Iterable[Path]:
    """Material libraries and the textures that they name, all checked."""
    found: dict[Path, None] = {}
    for statement in libraries:
        library = companion(path, statement.decode(errors="replace").strip(), "material library")
        found[library] = None
        for line in library.read_bytes().replace(b"\r", b"").split(b"\n"):
            words = line.split()
            if len(words) > 1 and _is_texture(words[0]):
                name = _texture_name(words[1:])
                texture = companion(library, name, "texture")
                check_picture(path, name, texture.read_bytes())
                found[texture] = None
    return found


def _is_texture(word: bytes) -> bool:
    keyword = word.decode(errors="replace").lower()
    return keyword.startswith("map_") or keyword in TEXTURE_WORDS


def _texture_name(words: list[bytes]) -> str:
    """The file name of a texture statement, behind its options; it may hold spaces."""
    at = 0
    while at < len(words) - 1 and words[at].startswith(b"-") and not words[at][1:2].isdigit():
        at += 1 + _OPTION_VALUES.get(words[at], 1)
    return b" ".join(words[min(at, len(words) - 1) :]).decode(errors="replace")
