"""`i2v3d export`: a finished scene for other programs."""

from __future__ import annotations

import sys
from pathlib import Path

from i2v3d.commands.parsers import Group, Options
from i2v3d.errors import InputError


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
    """Writes the file. Raises InputError for a folder that is no scene."""
    from i2v3d.blender import api

    if not (options.scene / "scene.json").is_file():
        raise InputError(f"{options.scene} is no finished scene; name results/RUN/VARIANT/stages/scene")
    api.export_scene(options.scene, options.out)
    sys.stdout.write(f"{options.out}\n")
    return 0
