"""A finished variant as one small picture that moves, or a sheet of its frames: true, coarse and generated together."""

from __future__ import annotations

import json
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


def write_loop(variant: Path, longest_px: int, columns: int, out: Path) -> int:
    """Writes `out`, as its suffix says a loop that plays forth and back or a sheet; returns the shot's frames.

    variant: results/RUN/VARIANT, finished. longest_px: longest side of a frame as it is shown. columns: frames of a
    sheet. Raises ConfigError for another suffix, ArtifactError if the variant is not finished.
    """
    if out.suffix not in MOVING + STILL:
        raise ConfigError(f"{out} is neither a loop nor a sheet; name it {' or '.join(MOVING + STILL)}")
    shown = _frames(variant)
    frames = len(next(iter(shown.values())))
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix in STILL:
        at = np.unique(np.linspace(0, frames - 1, min(columns, frames)).round().astype(int))
        rows = [(name, [Panel("", read_rgb(paths[i])) for i in at]) for name, paths in shown.items()]
        Image.fromarray(labelled_rows(rows, longest_px)).save(out, quality=QUALITY)
        return frames
    pictures = [Image.fromarray(_beside(shown, i, longest_px)) for i in range(frames)]
    order = [*[0] * TURN_FRAMES, *range(frames), *[frames - 1] * TURN_FRAMES, *range(frames - 2, 0, -1)]
    pause_ms = round(1000 / _fps(variant))
    first, *others = [pictures[i] for i in order]
    first.save(out, save_all=True, append_images=others, duration=pause_ms, loop=0, quality=QUALITY)
    return frames


def _beside(shown: dict[str, list[Path]], index: int, longest_px: int) -> Rgb:
    """One frame of all, side by side, named."""
    return labelled_rows([("", [Panel(name, read_rgb(p[index])) for name, p in shown.items()])], longest_px)


def _frames(variant: Path) -> dict[str, list[Path]]:
    """The pictures of every frame: the true ones if they are known, the coarse and the generated ones."""
    generated = variant / "frames"
    if not generated.is_dir():
        raise ArtifactError(f"{variant} is no finished variant; name results/RUN/VARIANT after its run")
    stages = variant / "stages"
    truth = SceneFolder(stages / "scene").true_photos
    folders = {"true": truth, "coarse": stages / "render" / "rgb", "generated": generated}
    numbers = list_frames(generated)
    return {
        name: [folder / frame_name(number) for number in numbers]
        for name, folder in folders.items()
        if folder is not None
    }


def _fps(variant: Path) -> float:
    return float(json.loads((variant / "metrics.json").read_text())["fps"])
