"""Checks of a PLY file, text or binary."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from plyfile import PlyData, PlyElementParseError, PlyHeaderParseError

from i2v3d.errors import InputError
from i2v3d.scene.mesh_files.facts import MeshFacts, check_count, check_indices, check_positions

HEADER_BYTES = 65536  # a header is a few hundred
_CORNERS = re.compile(rb"property[ \t]+list[ \t]+\w+[ \t]+\w+[ \t]+(vertex_index|vertex_indices)\b")


def read_ply(path: Path, max_faces: int) -> MeshFacts:
    """Checks a PLY; see `check_mesh`. Polygons count as fans of triangles."""
    header = _header(path)
    counted = re.search(rb"^element[ \t]+face[ \t]+(\d+)", header, flags=re.MULTILINE)
    check_count(path, int(counted[1]) if counted else 0, max_faces)
    named = _CORNERS.search(header)
    if named is None:
        raise InputError(f"mesh {path} has faces without a list of vertex indices; export it again")
    name = named[1].decode()
    try:
        data = _read(path, name)
        positions = np.stack([data["vertex"][axis] for axis in "xyz"], axis=-1).astype(np.float64)
        corners, triangles = _corners(data["face"][name])
    except (PlyHeaderParseError, PlyElementParseError, KeyError, ValueError) as error:
        raise InputError(f"mesh {path} is truncated or damaged ({error}); export it again") from error
    check_positions(path, positions)
    check_indices(path, corners, len(positions))
    return MeshFacts(triangles, len(positions))


def _header(path: Path) -> bytes:
    with path.open("rb") as stream:
        head = stream.read(HEADER_BYTES)
    header, end, _ = head.replace(b"\r", b"\n").partition(b"end_header")
    if not end:
        raise InputError(f"mesh {path} is truncated: its header does not end; export it again")
    return header


def _read(path: Path, corners: str) -> PlyData:
    """All elements; triangles are tried first, which a binary file gives in one read."""
    try:
        return PlyData.read(path, mmap=True, known_list_len={"face": {corners: 3}})
    except (PlyElementParseError, ValueError):
        return PlyData.read(path, mmap=False)


def _corners(lists: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], int]:
    """Every corner's vertex, and the number of triangles."""
    if lists.dtype != object:
        return lists.astype(np.int64).ravel(), len(lists)
    sizes = np.array([len(item) for item in lists])
    if (sizes < 3).any():
        raise ValueError(f"a face has {sizes.min()} corners")
    return np.concatenate(lists).astype(np.int64), int((sizes - 2).sum())
