"""Videos of one clip by all methods: one by one for a page, and side by side in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from i2v3d import images
from i2v3d.artifacts.folders import frame_name
from i2v3d.images import Rgb
from i2v3d.report.page import Film, data_address

LABEL_PX = 14
CRF = 20


def frame_paths(folder: Path, frames: int) -> list[Path]:
    """The pictures 1 to `frames` of a folder."""
    return [folder / frame_name(number) for number in range(1, frames + 1)]


def film(label: str, folder: Path, frames: int, fps: int, path: Path) -> Film:
    """Encodes the pictures of a folder to `path` and reads it as a film of a page."""
    images.write_video(path, (images.read_rgb(p) for p in frame_paths(folder, frames)), fps, CRF)
    return Film(label, data_address(path))


def side_by_side(folders: Mapping[str, Path], frames: int, fps: int, columns: int, path: Path) -> None:
    """Writes one video of labelled tiles, a tile a folder."""

    def sheet(number: int) -> Rgb:
        tiles = [labelled(images.read_rgb(f / frame_name(number)), name) for name, f in folders.items()]
        rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
        return images.grid(rows)

    images.write_video(path, (sheet(number) for number in range(1, frames + 1)), fps, CRF)


def labelled(picture: Rgb, name: str) -> Rgb:
    """The picture under a white strip with its name."""
    strip = Image.new("RGB", (picture.shape[1], LABEL_PX), "white")
    ImageDraw.Draw(strip).text((3, 1), name, fill="black")
    return np.concatenate([np.asarray(strip), picture])


def picture_rows(rows: Sequence[Sequence[Path]], path: Path) -> None:
    """Writes one picture of rows of picture files of one size."""
    images.write_rgb(path, images.grid([[images.read_rgb(p) for p in row] for row in rows]))
