"""`i2v3d mesh`: what a mesh file holds."""

from __future__ import annotations

import sys
from pathlib import Path

from i2v3d.commands.parsers import Group, Options, count


def add_parser(group: Group) -> None:
    """A file in, a table on standard output."""
    parser = group.add(
        "mesh",
        run,
        what="what a mesh file holds: faces, size, actions with their seconds, shape keys, bones",
        examples=("i2v3d mesh robot.fbx",),
    )
    parser.add_argument("mesh", type=Path, help="OBJ, GLB, glTF, FBX, PLY, STL or OFF")
    parser.add_argument(
        "--max-faces",
        type=count,
        default=5_000_000,
        help="refuse more triangles than that (default: 5000000)",
    )


def run(options: Options) -> int:
    """Imports the mesh into Blender and says what came in."""
    from i2v3d.blender import api

    found = api.inspect_mesh(options.mesh, max_faces=options.max_faces)
    low, high = found.vertices_m.min(axis=0), found.vertices_m.max(axis=0)
    span = " ".join(f"{axis} {a:.3f} to {b:.3f}" for axis, a, b in zip("xyz", low, high, strict=True))
    actions = ", ".join(f"{name} ({seconds:.2f} s)" for name, seconds in found.actions.items())
    rows = {
        "faces": str(len(found.faces)),
        "size in metres": span,
        "actions": actions or "none",
        "shape keys": ", ".join(found.shape_keys) or "none",
        "bones": ", ".join(found.bones) or "none",
    }
    sys.stdout.write("".join(f"{name:<16}{value}\n" for name, value in rows.items()))
    return 0
