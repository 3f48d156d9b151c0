"""Checks of a binary FBX file.

Source: the Blender Foundation's description of the binary format (code.blender.org, 2013): a tree of nodes,
each with the offset of its end, a list of typed properties and child nodes; 64-bit offsets from version 7500.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    far_offset,
)

HEADER_BYTES, FIRST_WIDE, OLDEST = 27, 7500, 7100
_SCALARS = {b"Y": "<h", b"C": "<?", b"I": "<i", b"F": "<f", b"D": "<d", b"L": "<q", b"B": "<?"}
_ARRAYS = {b"f": "<f4", b"d": "<f8", b"l": "<i8", b"i": "<i4", b"b": "<u1", b"c": "<u1"}
_WANTED = {"Vertices", "PolygonVertexIndex", "Content", "RelativeFilename", "Filename", "FileName"}
_DEEPEST = 3  # Objects / Geometry or Video / one of the wanted


@dataclass(frozen=True)
class _Node:
    """name, values (of wanted nodes only), children."""

    name: str
    values: tuple[Any, ...]
    children: tuple[_Node, ...]

    def first(self, *names: str) -> Any:
        """The first value of the first child of one of these names; None if there is none."""
        return next((c.values[0] for n in names for c in self.children if c.name == n and c.values), None)


def read_fbx(path: Path, max_faces: int) -> MeshFacts:
    """Checks an FBX; see `check_mesh`. Faces of every geometry count; shape keys must be finite, too."""
    data = path.read_bytes()
    try:
        (version,) = struct.unpack_from("<I", data, HEADER_BYTES - 4)
        if version < OLDEST:
            raise InputError(f"mesh {path} is FBX version {version}; export it as FBX 7.1 or newer (2011)")
        nodes = list(_nodes(data, HEADER_BYTES, len(data), version >= FIRST_WIDE, 1))
        objects = [child for node in nodes if node.name == "Objects" for child in node.children]
        geometries = [node for node in objects if node.name == "Geometry"]
        faces = [_faces(node) for node in geometries]
        check_count(path, sum(faces), max_faces)
        vertices = sum(_check_geometry(path, node) for node in geometries)
    except (struct.error, zlib.error, ValueError, IndexError) as error:
        raise InputError(f"mesh {path} is truncated or damaged ({error}); export it again") from error
    pictures = [file for node in objects if node.name == "Video" for file in _check_video(path, node)]
    return MeshFacts(sum(faces), vertices, tuple(pictures))


def _nodes(data: bytes, start: int, end: int, wide: bool, depth: int) -> Iterator[_Node]:
    """The nodes of a list that begins at `start`. Raises ValueError if one does not end inside the file."""
    layout = struct.Struct("<QQQB" if wide else "<IIIB")
    at = start
    while True:
        if at + layout.size > end:
            raise ValueError(f"a list of nodes does not end before byte {end}")
        stop, count, length, name_length = layout.unpack_from(data, at)
        if stop == 0:
            return
        body = at + layout.size + name_length
        if not at < stop <= end or body + length > stop:
            raise ValueError(f"a node at byte {at} goes on to byte {stop} of {end}")
        name = data[at + layout.size : body].decode(errors="replace")
        values = tuple(_values(data, body, count)) if name in _WANTED and depth == _DEEPEST else ()
        nested = depth < _DEEPEST and body + length < stop
        children = tuple(_nodes(data, body + length, stop, wide, depth + 1)) if nested else ()
        yield _Node(name, values, children)
        at = stop


def _values(data: bytes, at: int, count: int) -> Iterator[Any]:
    """The properties of a node: numbers, bytes, arrays."""
    for _ in range(count):
        kind = data[at : at + 1]
        at += 1
        if kind in _SCALARS:
            yield struct.unpack_from(_SCALARS[kind], data, at)[0]
            at += struct.calcsize(_SCALARS[kind])
        elif kind in _ARRAYS:
            length, packed, size = struct.unpack_from("<III", data, at)
            raw = data[at + 12 : at + 12 + size]
            raw = zlib.decompress(raw) if packed else raw
            yield np.frombuffer(raw, _ARRAYS[kind], length) if length else np.empty(0, _ARRAYS[kind])
            at += 12 + size
        elif kind in (b"S", b"R"):
            (size,) = struct.unpack_from("<I", data, at)
            yield data[at + 4 : at + 4 + size]
            at += 4 + size
        else:
            raise ValueError(f"a property of unknown type {kind!r} at byte {at}")


def _faces(geometry: _Node) -> int:
    """Triangles of a geometry: a polygon's last corner is stored as its complement, which is negative."""
    corners = geometry.first("PolygonVertexIndex")
    return 0 if corners is None else int(len(corners) - 2 * (corners < 0).sum())


def _check_geometry(path: Path, geometry: _Node) -> int:
    """Checks one mesh or shape key; returns the number of its vertices."""
    numbers, corners = geometry.first("Vertices"), geometry.first("PolygonVertexIndex")
    if numbers is None:
        return 0
    positions = np.asarray(numbers).reshape(-1, 3)
    check_positions(path, positions)
    if any(far_offset(positions)):
        raise InputError(
            f"mesh {path} lies so far from its origin that single precision loses its shape; centre it and export again"
        )
    if corners is None:
        return 0  # a shape key: offsets of some vertices
    complement: NDArray[np.int64] = np.where(corners < 0, ~corners, corners)
    check_indices(path, complement, len(positions))
    return len(positions)


def _check_video(path: Path, video: _Node) -> list[Path]:
    """Checks one texture picture, embedded or beside the file; returns the file that it reads, if any."""
    stored = video.first("RelativeFilename", "Filename", "FileName") or b""
    name = stored.decode(errors="replace") if isinstance(stored, bytes) else ""
    content = video.first("Content")
    if isinstance(content, bytes) and content:
        check_picture(path, name or "embedded", content)
        return []
    if not name:
        return []  # a clip that nothing was loaded into
    file = companion(path, name, "texture")
    check_picture(path, name, file.read_bytes())
    return [file]
