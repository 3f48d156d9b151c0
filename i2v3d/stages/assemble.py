"""Stage assemble: the frames of the method or of a baseline as videos and sheets (4f of the method)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from i2v3d import images
from i2v3d.artifacts.folders import frame_name, list_frames
from i2v3d.artifacts.render_folder import COLOUR, RenderFolder
from i2v3d.artifacts.scene_folder import SceneFolder
from i2v3d.config.bounds import RenderLight
from i2v3d.config.interpolate import AssembleConfig
from i2v3d.errors import ArtifactError
from i2v3d.images import Rgb
from i2v3d.stages.context import StageContext


def assemble_video(cfg: AssembleConfig, inputs: Mapping[str, Path], out: Path, ctx: StageContext) -> None:
    """Writes frames/ (PNG, by number), video.mp4, coarse.mp4, side_by_side.mp4 and contact_sheet.png.

    inputs: 'scene', 'render', and the stage that `cfg.frames` names: a folder of frames, or one of segment
    folders. Neighbouring segments share a frame; the earlier segment's copy is shown. Raises
    ArtifactError if the frames do not cover the shot without a gap.
    """
    scene = SceneFolder(inputs["scene"]).spec()
    shown = all_frames(frame_folders(inputs[cfg.frames], cfg.frames, cfg.light), scene.frames)
    (out / "frames").mkdir()
    for number, path in shown.items():
        shutil.copyfile(path, out / "frames" / frame_name(number))
    coarse = {number: RenderFolder(inputs["render"]).file("rgb", number) for number in shown}
    write_videos(coarse, shown, out, scene.fps, cfg.crf, ctx)
    numbers = _spread(list(shown), cfg.sheet_columns)
    rows = [[images.read_rgb(paths[number]) for number in numbers] for paths in (coarse, shown)]
    images.write_rgb(out / "contact_sheet.png", images.grid(rows))
    ctx.log_metrics({"frames": len(shown)})
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


def frame_folders(stage: Path, name: str, light: RenderLight) -> list[Path]:
    """The folders in the finished folder of stage `name` that hold its frames, in the order of the shot.

    light: which colour of a render.
    """
    if segments := sorted(stage.glob("segment_*")):
        return segments
    return [RenderFolder(stage).folder(COLOUR[light])] if name == "render" else [stage]


def all_frames(folders: Sequence[Path], frames: int) -> dict[int, Path]:
    """Frame number -> picture for frames 1 to `frames`, the earlier folder's copy of a shared one."""
    found: dict[int, Path] = {}
    for folder in folders:
        for number in list_frames(folder):
            found.setdefault(number, folder / frame_name(number))
    missing = sorted(set(range(1, frames + 1)) - set(found))
    if missing:
        where = folders[0].parent if len(folders) > 1 else folders[0]
        raise ArtifactError(
            f"{where} lacks frame {missing[0]} of {frames}; delete it and re-run the stage that makes it"
        )
    return {number: found[number] for number in range(1, frames + 1)}
