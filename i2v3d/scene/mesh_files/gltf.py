"""Checks of a glTF file, binary (.glb) or text (.gltf).

Source: Khronos, glTF 2.0 specification (GLB container, accessors).
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

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

TRIANGLE_MODES = {4, 5, 6}  # triangles, strip, fan
COMPRESSED = {"KHR_draco_mesh_compression": "Draco", "EXT_meshopt_compression": "meshopt"}
_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942
_DAMAGED = (KeyError, IndexError, TypeError, ValueError, AttributeError)


@dataclass
class _Asset:
    """A file's description and its buffers, read when they are needed."""

    path: Path
    gltf: Mapping[str, Any]
    binary: bytes
    buffers: dict[int, bytes] = field(default_factory=dict)
    companions: list[Path] = field(default_factory=list)

    def buffer(self, number: int) -> bytes:
        """The bytes of a buffer: the binary chunk, a data URI, or a file beside."""
        if number not in self.buffers:
            uri = self.gltf["buffers"][number].get("uri")
            self.buffers[number] = self.binary if uri is None else self.resolve(uri, "buffer")
        return self.buffers[number]

    def resolve(self, uri: str, what: str) -> bytes:
        """What a uri means. Raises InputError if it is not there."""
        if uri.startswith("data:"):
            return _data_uri(self.path, uri)
        file = companion(self.path, unquote(uri), what)
        self.companions.append(file)
        return file.read_bytes()

    def view(self, number: int) -> bytes:
        """The bytes of a buffer view."""
        view = self.gltf["bufferViews"][number]
        start = view.get("byteOffset", 0)
        return self.buffer(view["buffer"])[start : start + view["byteLength"]]

    def accessor(self, number: int) -> NDArray[Any]:
        """An accessor's values, (count, width)."""
        accessor = self.gltf["accessors"][number]
        dtype, width = np.dtype(_COMPONENTS[accessor["componentType"]]), _WIDTHS[accessor["type"]]
        if "bufferView" not in accessor:
            return np.zeros((accessor["count"], width), dtype)
        view = self.gltf["bufferViews"][accessor["bufferView"]]
        return np.ndarray(
            shape=(accessor["count"], width),
            dtype=dtype,
            buffer=self.buffer(view["buffer"]),
            offset=view.get("byteOffset", 0) + accessor.get("byteOffset", 0),
            strides=(view.get("byteStride", dtype.itemsize * width), dtype.itemsize),
        )


def read_gltf(path: Path, max_faces: int) -> MeshFacts:
    """Checks a .glb or .gltf; see `check_mesh`. Faces of every mesh count, whether or not it is placed."""
    asset = _read_binary(path) if path.suffix.lower() == ".glb" else _read_text(path)
    try:
        primitives = [part for mesh in asset.gltf.get("meshes", []) for part in mesh["primitives"]]
        check_count(path, sum(_stated_faces(asset.gltf, part) for part in primitives), max_faces)
        found = [_check_primitive(asset, part) for part in primitives]
        for number, image in enumerate(asset.gltf.get("images", [])):
            _check_image(asset, number, image)
    except _DAMAGED as error:
        raise InputError(f"mesh {path} is damaged: its vertex data cannot be read ({error!r})") from error
    faces, vertices = (sum(column) for column in zip(*found, strict=True))
    return MeshFacts(faces, vertices, tuple(asset.companions))


def _read_binary(path: Path) -> _Asset:
    """The JSON and the binary chunk of a GLB file."""
    data = path.read_bytes()
    if len(data) < 20:
        raise InputError(f"mesh {path} is truncated ({len(data)} bytes); copy or export it again")
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
    return _Asset(path, _description(path, chunks.get(_JSON_CHUNK, b"")), chunks.get(_BINARY_CHUNK, b""))


def _read_text(path: Path) -> _Asset:
    return _Asset(path, _description(path, path.read_bytes()), b"")


def _description(path: Path, text: bytes) -> Mapping[str, Any]:
    try:
        gltf = json.loads(text)
        if not isinstance(gltf, dict) or "asset" not in gltf:
            raise ValueError("no asset")
    except ValueError as error:
        raise InputError(f"mesh {path} has a damaged glTF header; copy or export it again") from error
    used = [name for key, name in COMPRESSED.items() if key in gltf.get("extensionsUsed", ())]
    if used:
        raise InputError(
            f"mesh {path} is {used[0]}-compressed, which cannot be checked; export it uncompressed"
        )
    return gltf


def _data_uri(path: Path, uri: str) -> bytes:
    kind, comma, content = uri.partition(",")
    try:
        if not comma or not kind.endswith(";base64"):
            raise binascii.Error("not base64")
        return base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise InputError(f"mesh {path} holds damaged embedded data ({error}); export it again") from error


def _stated_faces(gltf: Mapping[str, Any], primitive: Mapping[str, Any]) -> int:
    """Triangles of a primitive as its header counts them."""
    number = primitive.get("indices", primitive["attributes"]["POSITION"])
    corners, mode = int(gltf["accessors"][number]["count"]), primitive.get("mode", 4)
    if mode not in TRIANGLE_MODES:
        return 0
    return corners // 3 if mode == 4 else max(0, corners - 2)


def _check_primitive(asset: _Asset, primitive: Mapping[str, Any]) -> tuple[int, int]:
    """Checks one primitive's positions, shape keys and indices; returns its triangles and vertices."""
    positions = asset.accessor(primitive["attributes"]["POSITION"])
    check_positions(asset.path, positions)
    targets: Sequence[Mapping[str, int]] = primitive.get("targets", [])
    for target in targets:
        if "POSITION" in target:
            check_positions(asset.path, asset.accessor(target["POSITION"]))
    if "indices" in primitive:
        check_indices(asset.path, asset.accessor(primitive["indices"]).ravel(), len(positions))
    return _stated_faces(asset.gltf, primitive), len(positions)


def _check_image(asset: _Asset, number: int, image: Mapping[str, Any]) -> None:
    """Raises InputError unless a texture image is there and decodes."""
    uri = image.get("uri", "")
    name = image.get("name") or ("embedded" if uri.startswith("data:") else uri) or f"number {number}"
    encoded = asset.view(image["bufferView"]) if "bufferView" in image else asset.resolve(uri, "texture")
    check_picture(asset.path, name, encoded)
