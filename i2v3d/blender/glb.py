"""Checks of a binary glTF file before Blender sees it; broken meshes can crash Blender.

Source: Khronos, glTF 2.0 specification (GLB container, accessors).
"""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from i2v3d.errors import InputError

MAX_TRIANGLES = 4_000_000  # about 5 GB in Blender
TRIANGLE_MODES = {4, 5, 6}  # triangles, strip, fan
_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942


def check_glb(path: Path, max_triangles: int = MAX_TRIANGLES) -> None:
    """Raises InputError unless `path` is a whole GLB that Blender can take.

    Checked: magic, version and length; at least one triangle and no more than `max_triangles`; finite
    positions; indices in range; every texture embedded or beside the file, and decodable.
    """
    gltf, binary = _read(path)
    triangles = 0
    for mesh in gltf.get("meshes", []):
        for primitive in mesh.get("primitives", []):
            triangles += _check_primitive(path, gltf, binary, primitive)
    if triangles == 0:
        raise InputError(f"mesh {path} has no faces; export it again with its geometry")
    if triangles > max_triangles:
        raise InputError(f"mesh {path} has {triangles} triangles, at most {max_triangles} fit; decimate it")
    for number in range(len(gltf.get("images", []))):
        _check_image(path, gltf, binary, number)


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """The JSON and the binary chunk of a GLB file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"mesh {path} cannot be read ({error.strerror}); expected a GLB file") from error
    if len(data) < 20 or data[:4] != b"glTF":
        raise InputError(f"mesh {path} is not a GLB file ({len(data)} bytes); export it as binary glTF")
    _, version, length = struct.unpack_from("<4sII", data)
    if version != 2 or length != len(data):
        raise InputError(
            f"mesh {path} is truncated or damaged: glTF version {version}, {len(data)} bytes where "
            f"its header says {length}; copy or export it again"
        )
    chunks: dict[int, bytes] = {}
    offset = 12
    while offset + 8 <= length:
        size, kind = struct.unpack_from("<II", data, offset)
        chunks.setdefault(kind, data[offset + 8 : offset + 8 + size])
        offset += 8 + size
    try:
        gltf = json.loads(chunks[_JSON_CHUNK])
    except (KeyError, ValueError) as error:
        raise InputError(f"mesh {path} has a damaged glTF header; copy or export it again") from error
    return gltf, chunks.get(_BINARY_CHUNK, b"")


def _check_primitive(path: Path, gltf: dict[str, Any], binary: bytes, primitive: dict[str, Any]) -> int:
    """Checks one primitive's positions and indices; returns its number of triangles."""
    if "KHR_draco_mesh_compression" in primitive.get("extensions", {}):
        raise InputError(f"mesh {path} is Draco-compressed, which cannot be checked; export it uncompressed")
    try:
        positions = _accessor(gltf, binary, primitive["attributes"]["POSITION"])
        indexed = "indices" in primitive
        indices = _accessor(gltf, binary, primitive["indices"]).ravel() if indexed else None
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"mesh {path} is damaged: its vertex data cannot be read ({error!r})") from error
    bad = int((~np.isfinite(positions).all(axis=1)).sum())
    if bad:
        raise InputError(f"mesh {path} has {bad} vertices that are not finite; repair it and try again")
    if indices is not None and indices.size and int(indices.max()) >= len(positions):
        raise InputError(
            f"mesh {path} refers to vertex {int(indices.max())} but has {len(positions)}; repair it"
        )
    corners = len(positions) if indices is None else indices.size
    mode = primitive.get("mode", 4)
    if mode not in TRIANGLE_MODES:
        return 0
    return corners // 3 if mode == 4 else max(0, corners - 2)


def _accessor(gltf: dict[str, Any], binary: bytes, number: int) -> NDArray[Any]:
    """An accessor's values, (count, width), of a buffer that lies inside the file."""
    accessor = gltf["accessors"][number]
    dtype, width = np.dtype(_COMPONENTS[accessor["componentType"]]), _WIDTHS[accessor["type"]]
    view = gltf["bufferViews"][accessor["bufferView"]]
    if view["buffer"] != 0 or "uri" in gltf["buffers"][0]:
        raise ValueError("its data lie outside the file")
    start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    row = dtype.itemsize * width
    return np.ndarray(
        shape=(accessor["count"], width),
        dtype=dtype,
        buffer=binary,
        offset=start,
        strides=(view.get("byteStride", row), dtype.itemsize),
    )


def _check_image(path: Path, gltf: dict[str, Any], binary: bytes, number: int) -> None:
    """Raises InputError unless texture image `number` is there and decodes."""
    image = gltf["images"][number]
    name = image.get("name") or image.get("uri", f"number {number}")[:60]
    try:
        if "bufferView" in image:
            view = gltf["bufferViews"][image["bufferView"]]
            start = view.get("byteOffset", 0)
            encoded = binary[start : start + view["byteLength"]]
        elif image["uri"].startswith("data:"):
            return  # rare and decoded by Blender, which reports it if it cannot
        else:
            encoded = _beside(path, unquote(image["uri"])).read_bytes()
        with Image.open(io.BytesIO(encoded)) as picture:
            picture.load()
    except (OSError, UnidentifiedImageError, KeyError, IndexError, SyntaxError) as error:
        raise InputError(
            f"texture {name!r} of mesh {path} is missing or damaged ({type(error).__name__}); "
            "export the mesh with its textures embedded"
        ) from error


def _beside(path: Path, uri: str) -> Path:
    """The file that a texture's relative uri names. Raises InputError if it leaves the mesh's folder."""
    target = (path.parent / uri).resolve()
    if not target.is_relative_to(path.parent.resolve()):
        raise InputError(f"texture {uri!r} of mesh {path} lies outside its folder; embed it in the mesh")
    return target
