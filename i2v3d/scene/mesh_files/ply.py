"""Checks of a PLY file, text or binary, and the same mesh as Blender's importer takes it.

Colours of faces, textures by corner or by vertex (as MeshLab writes them) and colours that are no bytes would be lost.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from plyfile import PlyData, PlyElement, PlyElementParseError, PlyHeaderParseError

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
)

HEADER_BYTES = 65536  # a header is a few hundred
_CORNERS = re.compile(rb"property[ \t]+list[ \t]+\w+[ \t]+\w+[ \t]+(vertex_index|vertex_indices)\b")
_TEXTURE = re.compile(r"^\s*TextureFile\s+(.+?)\s*$", re.IGNORECASE)
_COLOURS = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
_UV = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))
_FROM_BYTES = 2.0  # floats beyond it are meant as 0..255

_DAMAGED = (
    PlyHeaderParseError,
    PlyElementParseError,
    KeyError,
    ValueError,
    TypeError,
    IndexError,
    OverflowError,
)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class _Ply:
    """positions: (n, 3) float64. lists: the corners of each face. colours of vertices (n, 3) or faces (m, 3), uint8 or
    None. uv: (c, 2) of all corners in turn, or None. textures: files; of_face: which of them each face shows."""

    positions: Array
    lists: tuple[Array, ...]
    vertex_colours: Array | None
    face_colours: Array | None
    uv: Array | None
    textures: tuple[Path, ...]
    of_face: Array

    @property
    def triangles(self) -> tuple[Array, Array]:
        """(t, 3) positions in the list of all corners, and the face of each."""
        rows, faces, start = [], [], 0
        for number, corners in enumerate(self.lists):
            rows += [(start, start + k, start + k + 1) for k in range(1, len(corners) - 1)]
            faces += [number] * (len(corners) - 2)
            start += len(corners)
        return np.array(rows, np.int64).reshape(-1, 3), np.array(faces, np.int64)


def read_ply(path: Path, max_faces: int) -> MeshFacts:
    """Checks a PLY; see `check_mesh`. Polygons count as fans of triangles."""
    header = _header(path)
    counted = re.search(rb"^element[ \t]+face[ \t]+(\d+)", header, flags=re.MULTILINE)
    if counted is None and re.search(rb"property[ \t]+float[ \t]+f_dc_0\b", header):
        raise InputError(f"mesh {path} is a Gaussian splat, which has no faces; make a mesh of it first")
    check_count(path, int(counted[1]) if counted else 0, max_faces)
    stated = [
        int(count) for count in re.findall(rb"^element[ \t]+\w+[ \t]+(\d+)", header, flags=re.MULTILINE)
    ]
    if max(stated) > path.stat().st_size:  # a byte each, at the very least
        raise InputError(f"mesh {path} is truncated: it states {max(stated)} elements; export it again")
    named = _CORNERS.search(header)
    if named is None:
        raise InputError(f"mesh {path} has faces without a list of vertex indices; export it again")
    name = named[1].decode()
    try:
        data = _read(path, name)
        positions = np.stack([data["vertex"][axis] for axis in "xyz"], axis=-1).astype(np.float64)
        corners, triangles = _corners(data["face"][name])
    except (*_DAMAGED, UserWarning) as error:
        raise InputError(f"mesh {path} is truncated or damaged ({error}); export it again") from error
    check_positions(path, positions)
    check_indices(path, corners, len(positions))
    textures = _textures(path, data)
    for texture in textures:
        check_picture(path, texture.name, texture.read_bytes())
    offset = far_offset(positions)
    rewrite = bool(textures) or _named(data["face"], _COLOURS) is not None or not _plain_colours(data)
    return MeshFacts(triangles, len(positions), tuple(textures), offset, rewrite)


def _header(path: Path) -> bytes:
    with path.open("rb") as stream:
        head = stream.read(HEADER_BYTES)
    header, end, _ = head.replace(b"\r", b"\n").partition(b"end_header")
    if not end:
        raise InputError(f"mesh {path} is truncated: its header does not end; export it again")
    return header


def _read(path: Path, corners: str) -> PlyData:
    """All elements; triangles are tried first, which a binary file gives in one read."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what numpy says about text that ends early
        try:
            return PlyData.read(path, mmap=True, known_list_len={"face": {corners: 3}})
        except (PlyElementParseError, ValueError, UserWarning):
            return PlyData.read(path, mmap=False)


def _corners(lists: Array) -> tuple[npt.NDArray[np.int64], int]:
    """Every corner's vertex, and the number of triangles."""
    if lists.dtype != object:
        return lists.astype(np.int64).ravel(), len(lists)
    sizes = np.array([len(item) for item in lists])
    if (sizes < 3).any():
        raise ValueError(f"a face has {sizes.min()} corners")
    return np.concatenate(lists).astype(np.int64), int((sizes - 2).sum())


def _named(element: PlyElement, names: tuple[tuple[str, ...], ...]) -> tuple[str, ...] | None:
    """The first of some sets of property names that an element has."""
    there = {prop.name for prop in element.properties}
    return next((found for found in names if set(found) <= there), None)


def _plain_colours(data: PlyData) -> bool:
    """Whether Blender's importer reads the vertices' colours, if there are any: bytes of its own names."""
    names = _named(data["vertex"], _COLOURS)
    return names is None or (names == _COLOURS[0] and data["vertex"][names[0]].dtype == np.uint8)


def _textures(path: Path, data: PlyData) -> list[Path]:
    """The pictures that the header names, if faces or vertices say where they lie."""
    mapped = "texcoord" in {prop.name for prop in data["face"].properties} or _named(data["vertex"], _UV)
    named = [match[1] for comment in data.comments if (match := _TEXTURE.match(comment))]
    return [companion(path, name, "texture") for name in named] if mapped else []


def _bytes(element: PlyElement) -> Array | None:
    """Colours (n, 3) uint8 of an element. Floats are 0..1, or 0..255 where one is beyond 2; integers are full scale."""
    names = _named(element, _COLOURS)
    if names is None or not len(element.data):
        return None
    values = np.stack([element[name] for name in names], axis=-1)
    if values.dtype == np.uint8:
        return values
    if np.issubdtype(values.dtype, np.integer):
        top = 255 if values.max() <= 255 else np.iinfo(values.dtype).max
    else:
        values = np.nan_to_num(values)
        top = 255 if values.max() > _FROM_BYTES else 1
    return np.rint(np.clip(values.astype(np.float64) / top, 0, 1) * 255).astype(np.uint8)


def _whole(path: Path) -> _Ply:
    """Everything of a file that `read_ply` found good."""
    named = _CORNERS.search(_header(path))
    assert named is not None, "the file was checked"
    data = _read(path, named[1].decode())
    vertices, faces = data["vertex"], data["face"]
    lists = tuple(np.asarray(corners, np.int64) for corners in faces[named[1].decode()])
    properties = {prop.name for prop in faces.properties}
    uv = None
    if "texcoord" in properties:
        uv = np.concatenate([np.asarray(row, np.float64).reshape(-1, 2) for row in faces["texcoord"]])
    elif by_vertex := _named(vertices, _UV):
        uv = np.stack([vertices[name] for name in by_vertex], axis=-1)[np.concatenate(lists)]
    return _Ply(
        positions=np.stack([vertices[axis] for axis in "xyz"], axis=-1).astype(np.float64),
        lists=lists,
        vertex_colours=_bytes(vertices),
        face_colours=_bytes(faces),
        uv=uv,
        textures=tuple(_textures(path, data)),
        of_face=np.asarray(faces["texnumber"], np.int64)
        if "texnumber" in properties
        else np.zeros(len(lists), np.int64),
    )


def write_plain(path: Path, offset: Offset, target: Path) -> Path:
    """Writes the same mesh as Blender's importer takes it, `offset` taken off; returns where.

    target: without its suffix, which becomes .glb with textures and .ply without. Raises InputError for texture
    coordinates that do not fit the corners.
    """
    mesh = _whole(path)
    corners = np.concatenate(mesh.lists)
    positions = (mesh.positions - offset)[corners]
    if mesh.textures:
        if mesh.uv is None or len(mesh.uv) != len(corners):
            raise InputError(
                f"mesh {path} has texture coordinates of other corners than its faces; export it again"
            )
        return _write_textured(mesh, positions, target.with_suffix(".glb"))
    colours = None if mesh.vertex_colours is None else mesh.vertex_colours[corners]
    if mesh.face_colours is not None:
        colours = mesh.face_colours[np.repeat(np.arange(len(mesh.lists)), [len(c) for c in mesh.lists])]
    write_triangles(target.with_suffix(".ply"), positions, mesh.triangles[0], colours)
    return target.with_suffix(".ply")


def write_triangles(path: Path, positions: Array, triangles: Array, colours: Array | None) -> None:
    """Writes positions (n, 3), triangles (t, 3) and colours (n, 3) uint8 as a binary PLY."""
    fields = [(axis, "<f4") for axis in "xyz"]
    fields += [] if colours is None else [(name, "u1") for name in _COLOURS[0]]
    vertices = np.empty(len(positions), fields)
    for column, axis in enumerate("xyz"):
        vertices[axis] = positions[:, column]
    for column, name in enumerate(_COLOURS[0] if colours is not None else ()):
        vertices[name] = colours[:, column]  # type: ignore[index]
    faces = np.empty(len(triangles), [("vertex_indices", "<i4", (3,))])
    faces["vertex_indices"] = triangles
    elements = [PlyElement.describe(vertices, "vertex"), PlyElement.describe(faces, "face")]
    PlyData(elements, text=False, byte_order="<").write(str(path))


def _write_textured(mesh: _Ply, positions: Array, path: Path) -> Path:
    """A binary glTF, y up, with one part a texture."""
    import trimesh  # half a second that other meshes should not pay

    triangles, faces = mesh.triangles
    x, y, z = positions.T
    upright = np.stack([x, z, -y], axis=-1)
    parts = {}
    for number, texture in enumerate(mesh.textures):
        own = triangles[mesh.of_face[faces] == number]
        if len(own) == 0:
            continue
        with Image.open(texture) as picture:
            material = trimesh.visual.material.PBRMaterial(
                name=texture.stem,
                baseColorTexture=picture.convert("RGBA"),
                metallicFactor=0.0,
                doubleSided=True,
            )
        visual = trimesh.visual.TextureVisuals(uv=mesh.uv, material=material)
        parts[f"{path.stem}_{number}"] = trimesh.Trimesh(upright, own, visual=visual, process=False)
    path.write_bytes(trimesh.Scene(parts).export(file_type="glb"))
    return path
