"""Finished variants as one small picture that moves, or a sheet of frames: true, coarse and generated together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from i2v3d.artifacts.folders import frame_name, list_frames
from i2v3d.artifacts.scene_folder import SceneFolder
from i2v3d.errors import ArtifactError, ConfigError
from i2v3d.figures.labelled import Panel, labelled_rows
from i2v3d.images import Rgb, read_rgb

MOVING, STILL = (".webp", ".gif"), (".png", ".jpg")
QUALITY = 82  # of WebP and JPEG, which PNG and GIF do not have
TURN_FRAMES = 4  # that a loop rests on its first and its last frame


def write_loop(variants: Sequence[Path], longest_px: int, columns: int, out: Path) -> int:
    """Writes `out`, as its suffix says a loop that plays forth and back or a sheet; returns the shot's frames.

    variants: results/RUN/VARIANT each, finished, of one shot; the first has the true and coarse pictures. longest_px:
    longest side of a frame as it is shown. columns: frames of a sheet. Raises ConfigError for another suffix or shots
    of other lengths, ArtifactError if a variant is not finished.
    """
    if out.suffix not in MOVING + STILL:
        raise ConfigError(f"{out} is neither a loop nor a sheet; name it {' or '.join(MOVING + STILL)}")
    shown = _frames(variants)
    frames = len(next(iter(shown.values())))
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix in STILL:
        at = np.unique(np.linspace(0, frames - 1, min(columns, frames)).round().astype(int))
        rows = [(name, [Panel("", read_rgb(paths[i])) for i in at]) for name, paths in shown.items()]
        Image.fromarray(labelled_rows(rows, longest_px)).save(out, quality=QUALITY)
        return frames
    pictures = [Image.fromarray(_beside(shown, i, longest_px)) for i in range(frames)]
    order = [*[0] * TURN_FRAMES, *range(frames), *[frames - 1] * TURN_FRAMES, *range(frames - 2, 0, -1)]
    pause_ms = round(1000 / _fps(variants[0]))
    first, *others = [pictures[i] for i in order]
    first.save(out, save_all=True, append_images=others, duration=pause_ms, loop=0, quality=QUALITY)
    return frames


def _beside(shown: dict[str, list[Path]], index: int, longest_px: int) -> Rgb:
    """One frame of all, side by side, named."""
    return labelled_rows([("", [Panel(name, read_rgb(p[index])) for name, p in shown.items()])], longest_px)


def _frames(variants: Sequence[Path]) -> dict[str, list[Path]]:
    """The pictures of every frame: the true ones if they are known, the coarse ones, and each variant's."""
    for variant in variants:
        if not (variant / "frames").is_dir():
            raise ArtifactError(f"{variant} is no finished variant; name results/RUN/VARIANT after its run")
    first, *others = variants
    numbers = list_frames(first / "frames")
    for other in others:
        if (there := list_frames(other / "frames")) != numbers:
            raise ConfigError(
                f"{other} has {len(there)} frames and {first} {len(numbers)}; name variants of one shot"
            )
    truth = SceneFolder(first / "stages" / "scene").true_photos
    folders = {"true": truth, "coarse": first / "stages" / "render" / "rgb"}
    folders |= {name: path / "frames" for name, path in zip(_names(variants), variants, strict=True)}
    return {
        name: [folder / frame_name(number) for number in numbers]
        for name, folder in folders.items()
        if folder is not None
    }


def _names(variants: Sequence[Path]) -> list[str]:
    """What tells them apart: their names, or else their runs'; one needs no name."""
    if len(variants) == 1:
        return ["generated"]
    paths = [path.resolve() for path in variants]
    own, runs = [path.name for path in paths], [path.parent.name for path in paths]
    told = next((names for names in (own, runs) if len(set(names)) == len(names)), None)
    return told or [f"{run}/{name}" for run, name in zip(runs, own, strict=True)]


def _fps(variant: Path) -> float:
    return float(json.loads((variant / "metrics.json").read_text())["fps"])
