"""Commands that carry a scene to and from other programs: cameras, whole scenes, the rigged figure."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from i2v3d.errors import InputError
from i2v3d.geometry.camera_track import read_rendered
from i2v3d.scene.motion.camera_files import read_track, write_track

RENDERED = "rendered"  # our own cameras.json
KINDS = ("nerfstudio", "colmap", "look_at")


def convert_cameras(words: Sequence[str]) -> int:
    """Writes the cameras of a render, or of another program, in a format of choice."""
    parser = argparse.ArgumentParser(prog="i2v3d cameras", description=convert_cameras.__doc__)
    parser.add_argument("source", type=Path, help="cameras.json of a render, or a file (folder) of --from")
    parser.add_argument("out", type=Path, help="file to write; a folder for colmap")
    parser.add_argument("--from", dest="given", default=RENDERED, choices=(RENDERED, *KINDS))
    parser.add_argument("--to", dest="wanted", required=True, choices=KINDS)
    parser.add_argument(
        "--size", default="1024x576", help="pixels of look_at's pictures, which it does not state"
    )
    options = parser.parse_args(words)
    if options.given == RENDERED:
        track = read_rendered(options.source)
    else:
        track = read_track(options.source, options.given, size_of(options.size))
    write_track(options.out, options.wanted, track)
    sys.stdout.write(f"{options.out}: {track.frames} cameras of {track.width}x{track.height}\n")
    return 0


def export_scene(words: Sequence[str]) -> int:
    """Writes a finished scene as .glb, with its animation and cameras, or as .blend."""
    parser = argparse.ArgumentParser(prog="i2v3d export", description=export_scene.__doc__)
    parser.add_argument("scene", type=Path, help="results/RUN/VARIANT/stages/scene")
    parser.add_argument("out", type=Path, help="file to write, .glb or .blend")
    options = parser.parse_args(words)

    from i2v3d.blender import api

    api.export_scene(options.scene, options.out)
    sys.stdout.write(f"{options.out}\n")
    return 0


def make_figure(words: Sequence[str]) -> int:
    """Writes the project's own rigged figure, with actions walk, wave and jump and shape key puffed."""
    parser = argparse.ArgumentParser(prog="i2v3d figure", description=make_figure.__doc__)
    parser.add_argument("out", type=Path, help="file to write, .glb or .fbx")
    options = parser.parse_args(words)

    from i2v3d.blender import api

    api.save_figure(options.out)
    sys.stdout.write(f"{options.out}\n")
    return 0


def list_mesh(words: Sequence[str]) -> int:
    """Says what a mesh file holds: faces, size, actions with their seconds, shape keys, bones."""
    parser = argparse.ArgumentParser(prog="i2v3d mesh", description=list_mesh.__doc__)
    parser.add_argument("mesh", type=Path, help="OBJ, GLB, glTF, FBX or PLY")
    parser.add_argument("--max-faces", type=int, default=5_000_000, help="refuse more triangles than that")
    options = parser.parse_args(words)

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


def size_of(text: str) -> tuple[int, int]:
    """Pixels of 'WIDTHxHEIGHT'."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise InputError(f"--size is {text!r}; expected WIDTHxHEIGHT in pixels, such as 1024x576")
    return int(width), int(height)
