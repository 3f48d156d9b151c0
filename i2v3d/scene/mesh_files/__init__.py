"""Meshes as users give them, checked before Blender sees them: broken ones can crash it or render nonsense."""

from __future__ import annotations

import shutil
from pathlib import Path

from i2v3d.errors import InputError
from i2v3d.scene.mesh_files.facts import MeshFacts, check_count
from i2v3d.scene.mesh_files.fbx import read_fbx
from i2v3d.scene.mesh_files.gltf import read_gltf
from i2v3d.scene.mesh_files.obj import read_obj
from i2v3d.scene.mesh_files.ply import read_ply

__all__ = ["SUFFIXES", "MeshFacts", "check_mesh", "copy_mesh"]

_READERS = {
    ".obj": read_obj,
    ".glb": read_gltf,
    ".gltf": read_gltf,
    ".fbx": read_fbx,
    ".ply": read_ply,
}
SUFFIXES = tuple(_READERS)
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

    Checked, by suffix (.obj, .glb, .gltf, .fbx, .ply): that the content is of that format and complete; at
    least one face and at most `max_faces` (triangles); finite vertices; indices in range; every texture,
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
    """Copies a mesh and every file that it refers to into `folder`, in the same order of folders.

    Returns the copy's path. Raises InputError as `check_mesh`.
    """
    facts = check_mesh(path, max_faces)
    for file in (path, *facts.companions):
        target = folder / file.resolve().relative_to(path.resolve().parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return folder / path.resolve().name


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
    binary = suffix in (".glb", ".fbx", ".ply")
    if binary and found is None:
        raise InputError(f"mesh {path} does not begin like a {suffix} file; export it again as that")
    if not binary and b"\0" in head:
        raise InputError(f"mesh {path} is no text, as {suffix} files are; export it again as that")
