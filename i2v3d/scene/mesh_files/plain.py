"""STL and OFF: geometry, and colours of OFF's vertices, read by trimesh and handed to Blender as PLY."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from i2v3d.errors import InputError
from i2v3d.scene.mesh_files.facts import (
    MeshFacts,
    Offset,
    check_count,
    check_indices,
    check_positions,
    far_offset,
)
from i2v3d.scene.mesh_files.ply import write_triangles

STL_HEADER, STL_TRIANGLE = 84, 50  # bytes


def read_plain(path: Path, max_faces: int) -> MeshFacts:
    """Checks an STL or OFF; see `check_mesh`. Both have z up and no unit."""
    if path.suffix.lower() == ".stl":
        _check_stl(path, max_faces)
    mesh = _loaded(path)
    check_count(path, len(mesh.faces), max_faces)
    check_positions(path, mesh.vertices)
    check_indices(path, mesh.faces, len(mesh.vertices))
    return MeshFacts(len(mesh.faces), len(mesh.vertices), (), far_offset(mesh.vertices), rewrite=True)


def _check_stl(path: Path, max_faces: int) -> None:
    """Raises InputError unless a binary file is as long as its count says."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(STL_HEADER)
    count = int.from_bytes(head[80:84], "little")
    if head.lstrip().startswith(b"solid") and size != STL_HEADER + STL_TRIANGLE * count:
        return  # text
    check_count(path, count, max_faces)
    if size < STL_HEADER + STL_TRIANGLE * count:
        raise InputError(
            f"mesh {path} is truncated: {size} bytes where {count} triangles need {STL_HEADER + STL_TRIANGLE * count}; "
            "export it again"
        )


def write_plain(path: Path, offset: Offset, target: Path) -> Path:
    """Writes the mesh as target.ply, `offset` taken off; returns that path."""
    mesh = _loaded(path)
    colours = np.asarray(mesh.visual.vertex_colors)[:, :3] if mesh.visual.kind == "vertex" else None
    write_triangles(target.with_suffix(".ply"), mesh.vertices - np.array(offset), mesh.faces, colours)
    return target.with_suffix(".ply")


def _loaded(path: Path) -> Any:
    import trimesh  # half a second that other meshes should not pay

    try:
        mesh = trimesh.load_mesh(path, process=False)
        if not isinstance(mesh, trimesh.Trimesh):
            raise ValueError(f"it holds a {type(mesh).__name__}")
    except Exception as error:  # trimesh raises many kinds for damaged files
        raise InputError(f"mesh {path} is truncated or damaged ({error}); export it again") from error
    return mesh
