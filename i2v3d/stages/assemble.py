"""Joins segments into videos and sheets (section 4f of the method)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from i2v3d import images
from i2v3d.artifacts import frame_name, list_frames, require
from i2v3d.config import AssembleConfig
from i2v3d.errors import ArtifactError
from i2v3d.images import Rgb
from i2v3d.scene.spec import SceneSpec
from i2v3d.stages.context import StageContext


def assemble_video(cfg: AssembleConfig, inputs: Mapping[str, Path], out: Path, ctx: StageContext) -> None:
    """Writes video.mp4, coarse.mp4, side_by_side.mp4, contact_sheet.png and keyframes/.

    inputs: 'scene', 'render', 'keyframes' and 'interpolate', the last one a folder of segment folders.
    Neighbouring segments share a frame; the earlier segment's copy is shown. Raises ArtifactError if
    the segments do not cover the shot without a gap.
    """
    require(inputs["scene"], "scene.json")
    scene = SceneSpec.load(inputs["scene"] / "scene.json")
    generated = join_segments(inputs["interpolate"], scene.frames)
    coarse = {number: inputs["render"] / "rgb" / frame_name(number) for number in generated}
    write_videos(coarse, generated, out, scene.fps, cfg.crf, ctx)
    keyframes = list_frames(inputs["keyframes"])
    (out / "keyframes").mkdir()
    for number in keyframes:
        shutil.copyfile(inputs["keyframes"] / frame_name(number), out / "keyframes" / frame_name(number))
    numbers = _spread(list(generated), cfg.sheet_columns)
    rows = [[images.read_rgb(paths[number]) for number in numbers] for paths in (coarse, generated)]
    images.write_rgb(out / "contact_sheet.png", images.grid(rows))
    ctx.log_metrics({"frames": len(generated), "keyframes": len(keyframes)})
    ctx.log_media("video", out / "video.mp4")
    ctx.log_media("side_by_side", out / "side_by_side.mp4")
    ctx.log_media("contact_sheet", out / "contact_sheet.png")


def write_videos(
    coarse: Mapping[int, Path],
    generated: Mapping[int, Path],
    out: Path,
    fps: int,
    crf: int,
    ctx: StageContext,
) -> None:
    """Writes coarse.mp4, video.mp4 and the two side by side, one frame in memory at a time."""
    both = [(coarse[number], generated[number]) for number in generated]
    videos: dict[str, Callable[[Path, Path], Rgb]] = {
        "video.mp4": lambda _, path: images.read_rgb(path),
        "coarse.mp4": lambda path, _: images.read_rgb(path),
        "side_by_side.mp4": lambda *paths: np.concatenate([images.read_rgb(p) for p in paths], axis=1),
    }
    for name, frame in videos.items():
        frames = (frame(*pair) for pair in ctx.track(both, desc=name, unit="frame"))
        images.write_video(out / name, frames, fps, crf)


def _spread(numbers: list[int], count: int) -> list[int]:
    """Up to `count` of the numbers, evenly spread, the first and the last among them."""
    positions = np.linspace(0, len(numbers) - 1, min(count, len(numbers))).round().astype(int)
    return [numbers[position] for position in positions]


def join_segments(folder: Path, frames: int) -> dict[int, Path]:
    """Frame number -> picture for frames 1 to `frames`, the earlier segment's copy of a shared one."""
    found: dict[int, Path] = {}
    for segment in sorted(folder.glob("segment_*")):
        for number in list_frames(segment):
            found.setdefault(number, segment / frame_name(number))
    missing = sorted(set(range(1, frames + 1)) - set(found))
    if missing:
        raise ArtifactError(
            f"{folder} lacks frame {missing[0]} of {frames}; delete it and re-run interpolate"
        )
    return {number: found[number] for number in range(1, frames + 1)}
