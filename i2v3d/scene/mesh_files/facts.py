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

FAR = 1e3  # extents from its origin at which a mesh loses its shape in single precision
# Pictures that Blender reads and Pillow does not, and ones that neither reads, by their first bytes.
_BLENDERS = {b"\x76\x2f\x31\x01": "EXR", b"#?RADIANCE": "HDR", b"#?RGBE": "HDR"}
_UNREAD = {b"\xabKTX 2": "KTX2 (Basis)", b"\xabKTX 1": "KTX", b"sB": "Basis", b"8BPS": "Photoshop"}

Offset = tuple[float, float, float]


@dataclass(frozen=True)
class MeshFacts:
    """faces: triangles, polygons counted as fans. vertices: positions. companions: files that it refers to.

    offset: what is taken off all positions when the mesh is copied, in the file's axes, because they lie too far from
    the origin for single precision; zero otherwise. rewrite: whether Blender needs another file of the same content.
    """

    faces: int
    vertices: int
    companions: tuple[Path, ...] = ()
    offset: Offset = (0.0, 0.0, 0.0)
    rewrite: bool = False


def far_offset(positions: NDArray[Any]) -> Offset:
    """The middle (3,) of positions (n, 3) that lie `FAR` times their extent from the origin, else zero."""
    low, high = positions.min(axis=0).astype(np.float64), positions.max(axis=0).astype(np.float64)
    middle, extent = (low + high) / 2, float(np.linalg.norm(high - low))
    if float(np.linalg.norm(middle)) <= FAR * extent or extent == 0:
        return (0.0, 0.0, 0.0)
    x, y, z = middle.tolist()
    return (x, y, z)


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


def find_companion(path: Path, name: str) -> Path | None:
    """The file in the mesh's folder or below that `name` means: relative to it, else of that name beside it."""
    parts = [part for part in name.replace("\\", "/").split("/") if part]
    folder = path.parent.resolve()
    for target in (
        (folder / "/".join(parts), folder / parts[-1]) if parts else ()
    ):  # exporters write their own paths
        if target.is_file() and target.resolve().is_relative_to(folder):
            return target.resolve()
    return None


def companion(path: Path, name: str, what: str) -> Path:
    """`find_companion`. Raises InputError if there is none. what: 'texture', 'buffer', ..."""
    found = find_companion(path, name)
    if found is not None:
        return found
    parts = [part for part in name.replace("\\", "/").split("/") if part]
    here = path.parent.resolve() / "/".join(parts)
    if parts and (".." in parts or here.is_file()):
        raise InputError(
            f"{what} {name!r} of mesh {path} {'links' if '..' not in parts else 'lies'} outside its folder; "
            "put it beside the mesh"
        )
    alike = (
        [file.name for file in here.parent.glob("*") if file.name.lower() == here.name.lower()]
        if parts
        else []
    )
    if alike:
        raise InputError(
            f"{what} {name!r} of mesh {path} is there as {alike[0]!r}; rename it to how the mesh writes it"
        )
    raise InputError(
        f"{what} {name!r} of mesh {path} is missing; put it beside the mesh, or export with it embedded"
    )


def check_picture(path: Path, name: str, encoded: bytes) -> None:
    """Raises InputError unless Blender can read `encoded` as a picture, saying whether its kind or its state is why."""
    if any(encoded.startswith(magic) for magic in _BLENDERS):
        return
    kind = next((kind for magic, kind in _UNREAD.items() if encoded.startswith(magic)), None)
    if kind is not None:
        raise InputError(
            f"texture {name!r} of mesh {path} is {kind}, which is not read; export the mesh with PNG or JPEG textures"
        )
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            picture.load()
    except UnidentifiedImageError as error:
        raise InputError(
            f"texture {name!r} of mesh {path} is no picture of a known kind, or damaged from its start "
            f"({len(encoded)} bytes); export the mesh with PNG or JPEG textures"
        ) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"texture {name!r} of mesh {path} is damaged ({' '.join(str(error).split())[:80]}); export the mesh again"
        ) from error


def is_picture(path: Path, name: str, encoded: bytes) -> bool:
    """Whether `check_picture` finds nothing."""
    try:
        check_picture(path, name, encoded)
    except InputError:
        return False
    return True
