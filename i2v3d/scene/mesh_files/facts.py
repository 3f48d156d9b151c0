"""What a check finds in a mesh file, and the refusals that all formats share."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from i2v3d.errors import InputError


@dataclass(frozen=True)
class MeshFacts:
    """faces: triangles, polygons counted as fans. vertices: positions. companions: files that it refers to."""

    faces: int
    vertices: int
    companions: tuple[Path, ...] = ()


def check_count(path: Path, faces: int, max_faces: int) -> None:
    """Raises InputError unless there is at least one face and no more than the cap."""
    if faces == 0:
        raise InputError(f"mesh {path} has no faces; export it again with its geometry")
    if faces > max_faces:
        raise InputError(
            f"mesh {path} has {faces} triangles, more than scene.max_faces = {max_faces}; "
            "decimate it, or raise the cap (a million takes about 0.6 GB)"
        )


def check_positions(path: Path, positions: NDArray[Any]) -> None:
    """Raises InputError if a vertex (n, 3) is not finite."""
    bad = int((~np.isfinite(positions).all(axis=1)).sum())
    if bad:
        raise InputError(f"mesh {path} has {bad} vertices that are not finite; repair it and try again")


def check_indices(path: Path, indices: NDArray[Any], vertices: int) -> None:
    """Raises InputError if a 0-based vertex index is negative or beyond the last vertex."""
    if not indices.size:
        return
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= vertices:
        wrong = high if high >= vertices else low
        raise InputError(f"mesh {path} refers to vertex {wrong} but has {vertices}; repair it")


def companion(path: Path, name: str, what: str) -> Path:
    """The file that `name` inside the mesh file means: relative to it, else of that name beside it.

    Raises InputError if there is none or it lies outside the mesh's folder. what: 'texture', 'buffer', ...
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part]
    folder = path.parent.resolve()
    target = (folder / "/".join(parts)).resolve() if parts else folder
    if not target.is_file() and parts:
        target = folder / parts[-1]  # exporters write paths of the machine that they ran on
    if target.is_file() and target.resolve().is_relative_to(folder):
        return target
    if ".." in parts and not target.is_file():
        raise InputError(f"{what} {name!r} of mesh {path} lies outside its folder; put it beside the mesh")
    if target.is_file():
        raise InputError(f"{what} {name!r} of mesh {path} links outside its folder; put it beside the mesh")
    raise InputError(
        f"{what} {name!r} of mesh {path} is missing; put it beside the mesh, or export with it embedded"
    )


def check_picture(path: Path, name: str, encoded: bytes) -> None:
    """Raises InputError unless `encoded` decodes as a picture."""
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            picture.load()
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"texture {name!r} of mesh {path} is missing or damaged ({type(error).__name__}); "
            "export the mesh with its textures embedded"
        ) from error
