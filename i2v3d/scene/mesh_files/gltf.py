"""Checks of a glTF file, binary (.glb) or text (.gltf).

Source: Khronos, glTF 2.0 specification (GLB container, accessors).
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping, Sequence
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
    find_companion,
)

TRIANGLE_MODES = {4, 5, 6}  # triangles, strip, fan
COMPRESSED = {"EXT_meshopt_compression": "meshopt", "KHR_meshopt_compression": "meshopt"}
DRACO, BASIS = (
    "KHR_draco_mesh_compression",
    "KHR_texture_basisu",
)  # Blender reads the first one, not the second
# Extensions that may be required of a reader: those of Blender's, and those that no render shows.
READ = {
    "KHR_materials_pbrSpecularGlossiness", "KHR_lights_punctual", "KHR_materials_unlit", "KHR_texture_transform",
    "KHR_materials_clearcoat", "KHR_mesh_quantization", "EXT_mesh_gpu_instancing", DRACO, "KHR_materials_variants",
    "KHR_materials_emissive_strength", "KHR_materials_transmission", "KHR_materials_specular", "KHR_materials_sheen",
    "KHR_materials_ior", "KHR_animation_pointer", "KHR_materials_volume", "EXT_texture_webp",
    "KHR_materials_anisotropy", BASIS,
}  # fmt: skip
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
        _check_images(asset)
        rewrite = _needs_rewriting(path, asset.gltf)
    except _DAMAGED as error:
        raise InputError(f"mesh {path} is damaged: its vertex data cannot be read ({error!r})") from error
    faces, vertices = (sum(column) for column in zip(*found, strict=True))
    return MeshFacts(faces, vertices, tuple(asset.companions), rewrite=rewrite)


def _read_binary(path: Path) -> _Asset:
    """The JSON and the binary chunk of a GLB file."""
    data = path.read_bytes()
    if len(data) < 20:
        raise InputError(f"mesh {path} is truncated ({len(data)} bytes); copy or export it again")
    _, version, length = struct.unpack_from("<4sII", data)
    if version != 2 or length > len(data):
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
        gltf = json.loads(text.removeprefix(BOM_UTF8))
        if not isinstance(gltf, dict) or "asset" not in gltf:
            raise ValueError("no asset")
    except ValueError as error:
        raise InputError(f"mesh {path} has a damaged glTF header; copy or export it again") from error
    version = gltf["asset"].get("version") if isinstance(gltf["asset"], dict) else None
    if version is not None and not str(version).startswith("2."):
        raise InputError(f"mesh {path} is of glTF {version}, which is not read; export it as glTF 2.0")
    required = gltf.get("extensionsRequired", ())
    for key, name in COMPRESSED.items():
        if key in {*required, *gltf.get("extensionsUsed", ())}:
            raise InputError(
                f"mesh {path} is {name}-compressed, which is not read; export it uncompressed or with Draco "
                "(gltf-transform cp IN OUT takes it off)"
            )
    if unread := sorted(set(required) - READ):
        raise InputError(
            f"mesh {path} requires {unread[0]}, which is not read; export it without that extension"
        )
    return gltf


def _needs_rewriting(path: Path, gltf: Mapping[str, Any]) -> bool:
    """Whether Blender would refuse the file, or show more than its scene.

    It refuses a fallback beside a required extension, bytes behind the end, a mark of byte order, and files without a
    scene; it shows what is in other scenes, or in none.
    """
    binary = path.suffix.lower() == ".glb"
    trailing = binary and path.stat().st_size != _stated_length(path)
    marked = not binary and path.read_bytes().startswith(BOM_UTF8)
    shown = _shown_nodes(gltf)
    hidden = any("mesh" in node and n not in shown for n, node in enumerate(gltf.get("nodes", [])))
    return (
        trailing or marked or hidden or not gltf.get("scenes") or BASIS in gltf.get("extensionsRequired", ())
    )


def _shown_nodes(gltf: Mapping[str, Any]) -> set[int]:
    """Numbers of the nodes of the scene that the file shows: the one that it names, else the first; all without any.

    Raises what a damaged file raises, as IndexError.
    """
    nodes, scenes = gltf.get("nodes", []), gltf.get("scenes")
    if not scenes:
        return set(range(len(nodes)))
    found: set[int] = set()
    waiting = list(scenes[gltf.get("scene", 0)].get("nodes", []))
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting += nodes[number].get("children", [])
    return found


def _stated_length(path: Path) -> int:
    with path.open("rb") as stream:
        return int(struct.unpack("<4sII", stream.read(12))[2])


def rewritten(path: Path) -> bytes:
    """The file with its uncompressed textures alone, only what its scene shows, and nothing behind its end."""
    binary = path.suffix.lower() == ".glb"
    asset = _read_binary(path) if binary else _read_text(path)
    gltf = dict(asset.gltf)
    for key in ("extensionsRequired", "extensionsUsed"):
        gltf[key] = [name for name in gltf.get(key, []) if name != BASIS]
        if not gltf[key]:
            del gltf[key]
    for texture in gltf.get("textures", []):
        texture.get("extensions", {}).pop(BASIS, None)
    shown, nodes = _shown_nodes(gltf), gltf.get("nodes", [])
    for number in set(range(len(nodes))) - shown:
        nodes[number].pop("mesh", None)
    if not gltf.get("scenes"):
        children = {child for node in nodes for child in node.get("children", [])}
        gltf |= {"scenes": [{"nodes": sorted(shown - children)}], "scene": 0}
    text = json.dumps(gltf).encode()
    if not binary:
        return text
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), _JSON_CHUNK) + text
    if asset.binary:
        chunks += struct.pack("<II", len(asset.binary), _BINARY_CHUNK) + asset.binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


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
    """Checks one primitive's positions, shape keys and indices; returns its triangles and vertices.

    Of a compressed one, what is compressed is there; Blender decodes it.
    """
    packed = primitive.get("extensions", {}).get(DRACO)
    if packed is not None:
        if not asset.view(packed["bufferView"]):
            raise ValueError("a compressed primitive without data")
        return _stated_faces(asset.gltf, primitive), int(
            asset.gltf["accessors"][primitive["attributes"]["POSITION"]]["count"]
        )
    positions = asset.accessor(primitive["attributes"]["POSITION"])
    check_positions(asset.path, positions)
    targets: Sequence[Mapping[str, int]] = primitive.get("targets", [])
    for target in targets:
        if "POSITION" in target:
            check_positions(asset.path, asset.accessor(target["POSITION"]))
    if "indices" in primitive:
        check_indices(asset.path, asset.accessor(primitive["indices"]).ravel(), len(positions))
    return _stated_faces(asset.gltf, primitive), len(positions)


def _check_images(asset: _Asset) -> None:
    """Raises InputError unless every picture that the renders show is there and can be read; finds the others."""
    images = asset.gltf.get("images", [])
    shown = set(_shown_images(asset))
    for number, image in enumerate(images):
        uri = image.get("uri", "")
        name = image.get("name") or ("embedded" if uri.startswith("data:") else uri) or f"number {number}"
        if number in shown:
            check_picture(asset.path, name, _encoded(asset, image))
        elif uri and not uri.startswith("data:") and (file := find_companion(asset.path, unquote(uri))):
            asset.companions.append(file)
    for number in range(len(asset.gltf.get("buffers", []))):
        asset.buffer(number)  # Blender reads them all


def _encoded(asset: _Asset, image: Mapping[str, Any]) -> bytes:
    uri = image.get("uri", "")
    return asset.view(image["bufferView"]) if "bufferView" in image else asset.resolve(uri, "texture")


def _shown_images(asset: _Asset) -> Iterator[int]:
    """Numbers of the pictures that colour or light up a face, each as Blender takes it."""
    parts = [part for mesh in asset.gltf.get("meshes", []) for part in mesh["primitives"]]
    materials = asset.gltf.get("materials", [])
    for number in sorted({part["material"] for part in parts if "material" in part}):
        material = materials[number]
        glossy = material.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness", {})
        for where, key in (
            (material.get("pbrMetallicRoughness", {}), "baseColorTexture"),
            (material, "emissiveTexture"),
            (glossy, "diffuseTexture"),
        ):
            if key in where:
                texture = asset.gltf["textures"][where[key]["index"]]
                found = _source(texture)
                if found is not None:
                    yield found


def _source(texture: Mapping[str, Any]) -> int | None:
    """The picture that Blender shows for a texture: WebP before the plain one, the plain one before Basis."""
    extensions = texture.get("extensions", {})
    if "EXT_texture_webp" in extensions:
        return int(extensions["EXT_texture_webp"]["source"])
    if "source" in texture:
        return int(texture["source"])
    return int(extensions[BASIS]["source"]) if BASIS in extensions else None
