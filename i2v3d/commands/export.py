"""`i2v3d export`: a finished scene for other programs."""

from __future__ import annotations

import sys
from pathlib import Path

from i2v3d.commands.parsers import Group, Options


def add_parser(group: Group) -> None:
    """A folder in, a file out."""
    parser = group.add(
        "export",
        run,
        what="a finished scene as .glb, with its animation and cameras, or as .blend",
        more="An edited .blend is a scene again: scene=blend.",
        examples=("i2v3d export results/mug/base/stages/scene mug.blend",),
    )
    parser.add_argument("scene", type=Path, help="results/RUN/VARIANT/stages/scene")
    parser.add_argument("out", type=Path, help="file to write, .glb or .blend")


def run(options: Options) -> int:
    """Writes the file."""
    from i2v3d.blender import api

    api.export_scene(options.scene, options.out)
    sys.stdout.write(f"{options.out}\n")
    return 0
