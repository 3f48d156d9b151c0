"""The pictures that an artist's .blend reads from disk: which are lacking, and which are kept beside the scene."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import bpy

from i2v3d.blender.inside.nodes import feeding, shown_materials

FOLDER = "pictures"  # beside scene.blend: what cannot be packed into it
_MOVING = ("SEQUENCE", "MOVIE")
_COUNT = re.compile(r"(\d+)(?=\.[^.]*$)")  # the number at the end of a picture's name
_TILE = re.compile(r"<UDIM>|<UVTILE>")


def shown_pictures(scene: bpy.types.Scene) -> Iterator[bpy.types.Image]:
    """Pictures that feed the surface of rendered faces, or the world, each once."""
    trees = [material.node_tree for material in shown_materials(scene)]
    if scene.world is not None and scene.world.node_tree is not None:
        trees.append(scene.world.node_tree)
    seen: set[bpy.types.Image] = set()
    for tree in trees:
        for node in feeding(tree):
            image = getattr(node, "image", None)
            if isinstance(image, bpy.types.Image) and image not in seen:
                seen.add(image)
                yield image


def missing_pictures(scene: bpy.types.Scene, blend: Path) -> list[str]:
    """What is wrong with pictures that the render shows: not there, or outside the .blend's folder."""
    folder = blend.parent.resolve()
    problems = []
    for image in shown_pictures(scene):
        if image.source in ("GENERATED", "VIEWER") or len(image.packed_files):
            continue
        files = _files(image)
        if not files or not all(file.is_file() and file.is_relative_to(folder) for file in files):
            problems.append(
                f"uses the picture {image.filepath or image.name}, which is not in its folder; pack it in Blender "
                "(File, External Data, Pack Resources) or put it there, and save"
            )
    return problems


def _files(image: bpy.types.Image) -> list[Path]:
    """The files that a picture means: all of a sequence, all tiles, else the one."""
    path = Path(bpy.path.abspath(image.filepath)).resolve()
    if image.source == "TILED":
        pattern = re.compile(_TILE.sub(r"\\d+", re.escape(path.name)))
        return sorted(p for p in _listed(path.parent) if pattern.fullmatch(p.name))
    if image.source == "SEQUENCE" and (match := _COUNT.search(path.name)):
        start, end = re.escape(path.name[: match.start()]), re.escape(path.name[match.end() :])
        return sorted(p for p in _listed(path.parent) if re.fullmatch(rf"{start}\d+{end}", p.name))
    return [path]


def _listed(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def pack_files() -> None:
    """Packs every picture and font that is there; what no render shows may be lacking."""
    for image in bpy.data.images:
        if image.source in ("FILE", "TILED") and image.filepath and not len(image.packed_files):
            files = _files(image)
            if files and all(file.is_file() for file in files):
                image.pack()
    for font in bpy.data.fonts:
        if font.packed_file is None and Path(bpy.path.abspath(font.filepath)).is_file():
            font.pack()


def keep_sequences(scene: bpy.types.Scene, out: Path) -> None:
    """Copies sequences and films, which no .blend can hold, below out/ and points to them there."""
    for number, image in enumerate(picture for picture in shown_pictures(scene) if picture.source in _MOVING):
        folder = out / FOLDER / str(number)
        folder.mkdir(parents=True)
        first = Path(bpy.path.abspath(image.filepath)).resolve()
        for file in _files(image):
            shutil.copyfile(file, folder / file.name)
        image.filepath = str(folder / first.name)
