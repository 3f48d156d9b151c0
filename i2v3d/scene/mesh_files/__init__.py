"""Meshes as users give them, checked before Blender sees them: broken ones can crash it or render nonsense.

What Blender's importers would read wrongly is handed to them as another file of the same content.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from i2v3d.errors import InputError
from i2v3d.scene.mesh_files import gltf, obj, plain, ply
from i2v3d.scene.mesh_files.facts import MeshFacts, Offset, check_count
from i2v3d.scene.mesh_files.fbx import read_fbx

__all__ = ["SUFFIXES", "Z_UP_SUFFIXES", "MeshFacts", "check_mesh", "copy_mesh", "taken_off"]

log = logging.getLogger(__name__)

_READERS = {
    ".obj": obj.read_obj,
    ".glb": gltf.read_gltf,
    ".gltf": gltf.read_gltf,
    ".fbx": read_fbx,
    ".ply": ply.read_ply,
    ".stl": plain.read_plain,
    ".off": plain.read_plain,
}
SUFFIXES = tuple(_READERS)
Z_UP_SUFFIXES = (".ply", ".stl", ".off")  # taken as they are; the others have y up, or say it
_BINARY = (".glb", ".fbx", ".ply", ".stl")
_MAGIC = {
    b"glTF": ".glb",
    b"Kaydara FBX Binary": ".fbx",
    b"ply\n": ".ply",
    b"ply\r": ".ply",
    b"; FBX": "text .fbx",
    b"BLENDER": ".blend",
    b"PK\x03\x04": ".zip",
    b"\x28\xb5\x2f\xfd": "compressed .blend",
}


def check_mesh(path: Path, max_faces: int) -> MeshFacts:
    """Raises InputError unless `path` is a whole mesh that Blender can take; returns what is in it.

    Checked, by suffix (one of `SUFFIXES`): that the content is of that format and complete; at least one face and at
    most `max_faces` (triangles); finite vertices; indices in range; every texture that the renders show, every
    material library and buffer there and readable, in the mesh's own folder or below.
    """
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise InputError(
            f"mesh {path} has the suffix {suffix or 'nothing'!r}; expected one of {', '.join(SUFFIXES)}"
        )
    _check_magic(path, suffix)
    facts = _READERS[suffix](path, max_faces)
    check_count(path, facts.faces, max_faces)
    return facts


def copy_mesh(path: Path, folder: Path, max_faces: int) -> Path:
    """Copies a mesh and every file that it refers to into `folder`, in the same order of folders, as Blender takes it.

    Returns the copy's path, whose suffix may be another one. Raises InputError as `check_mesh`.
    """
    facts = check_mesh(path, max_faces)
    for file in facts.companions:
        target = folder / file.resolve().relative_to(path.resolve().parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        if file.suffix.lower() == ".mtl":
            obj.unmark(target)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / path.resolve().name
    if not facts.rewrite and not any(facts.offset):
        shutil.copyfile(path, target)
        return target
    if any(facts.offset):
        where = ", ".join(f"{value:.6g}" for value in facts.offset)
        log.warning(
            "mesh %s lies at (%s), too far for single precision: it is moved to its origin", path, where
        )
    suffix = path.suffix.lower()
    if suffix == ".obj":
        target.write_bytes(obj.rewritten(path, facts.offset))
        return target
    if suffix in (".glb", ".gltf"):
        target.write_bytes(gltf.rewritten(path))
        return target
    writer = ply.write_plain if suffix == ".ply" else plain.write_plain
    return writer(path, facts.offset, target)


def taken_off(path: Path, max_faces: int) -> Offset:
    """What `copy_mesh` takes off a mesh's positions, in the axes that Blender gives them: z up.

    Raises InputError as `check_mesh`.
    """
    x, y, z = check_mesh(path, max_faces).offset
    return (x, y, z) if path.suffix.lower() in Z_UP_SUFFIXES else (x, -z, y)


def _check_magic(path: Path, suffix: str) -> None:
    """Raises InputError if the file is missing, empty, or its first bytes are those of another format."""
    try:
        with path.open("rb") as content:
            head = content.read(64)
    except OSError as error:
        raise InputError(
            f"mesh {path} cannot be read ({error.strerror}); check the path and its permissions"
        ) from error
    if not head:
        raise InputError(f"mesh {path} is empty (0 bytes); export it again")
    found = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)
    if found == "text .fbx" and suffix == ".fbx":
        raise InputError(f"mesh {path} is a text FBX; export it as binary FBX")
    if found is not None and found != suffix:
        raise InputError(f"mesh {path} holds {found} data; rename it to that suffix or export it as {suffix}")
    if suffix in (".glb", ".fbx", ".ply") and found is None:
        raise InputError(f"mesh {path} does not begin like a {suffix} file; export it again as that")
    if suffix not in _BINARY and b"\0" in head:
        raise InputError(f"mesh {path} is no text, as {suffix} files are; export it again as that")
