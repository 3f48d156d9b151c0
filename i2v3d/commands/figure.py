"""`i2v3d figure`: a rigged figure to try things with."""

from __future__ import annotations

import sys
from pathlib import Path

from i2v3d.commands.parsers import Group, Options


def add_parser(group: Group) -> None:
    """A file out."""
    parser = group.add(
        "figure",
        run,
        what="the project's own rigged figure as .glb or .fbx",
        more="It has the actions walk, wave and jump and the shape key puffed.",
        examples=("i2v3d figure figure.fbx",),
    )
    parser.add_argument("out", type=Path, help="file to write, .glb or .fbx")


def run(options: Options) -> int:
    """Writes the file."""
    from i2v3d.blender import api

    api.save_figure(options.out)
    sys.stdout.write(f"{options.out}\n")
    return 0
