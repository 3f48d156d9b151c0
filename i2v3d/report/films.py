"""Videos of clips by all methods: one by one for a page, and side by side in one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from i2v3d import images
from i2v3d.artifacts.folders import frame_name
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.artifacts.scene_folder import SceneFolder
from i2v3d.benchmark.trials import Clip
from i2v3d.images import Rgb
from i2v3d.report.comparison import Comparison
from i2v3d.report.outcomes import TRUTH, Outcome, folder
from i2v3d.report.page import Film, Films, data_address

LABEL_PX = 14
CRF = 20
COLUMNS = 4  # tiles beside each other in a video


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


def write_films(
    found: Comparison, cache: Path, out: Path, named: Callable[[Clip], tuple[str, str]]
) -> list[Films]:
    """videos/: of the first clips, one video a method, and all side by side.

    named: how a clip's files begin, and its title on the page.
    """
    (out / "videos").mkdir()
    made = []
    for clip in list(found.clips.values())[: found.settings.shown]:
        finished = {m: o for m, o in found.of(clip.index).items() if o.metrics is not None}
        if not finished:
            continue
        first = next(iter(finished.values()))
        assert first.metrics is not None
        frames, fps = int(first.metrics["frames"]), int(first.metrics["fps"])
        shown = _references(cache, first)
        shown |= {method: folder(cache, o.trial, "assemble") / "frames" for method, o in finished.items()}
        stem, title = named(clip)
        side_by_side(shown, frames, fps, COLUMNS, out / "videos" / f"{stem}.mp4")
        films = [
            film(name, place, frames, fps, out / "videos" / f"{stem}_{name}.mp4")
            for name, place in shown.items()
        ]
        made.append(Films(title, fps, frames, tuple(first.metrics["keyframes"]), tuple(films)))
    return made


def _references(cache: Path, outcome: Outcome) -> dict[str, Path]:
    """The true video, where it is known, else the coarse render."""
    truth = SceneFolder(folder(cache, outcome.trial, "scene")).true_photos
    if truth is not None:
        return {TRUTH: truth}
    return {"coarse render": RenderFolder(folder(cache, outcome.trial, "render")).folder("rgb")}
