"""An artist's own renders, in folders as the original names them, as the coarse passes of a shot.

ani: colour. depth: PNG of 8 or 16 bits, near is bright, or EXR in metres. fg_mask: white where the foreground
is seen. mask: white where anything is seen.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from i2v3d.artifacts.render_folder import CoarseFrame, RenderFolder, joined_range_m, seen_range_m
from i2v3d.artifacts.rendered_cameras import Range, RenderedCameras
from i2v3d.artifacts.scene_spec import SceneSpec
from i2v3d.errors import ArtifactError, InputError
from i2v3d.geometry.cameras import intrinsics
from i2v3d.images import FloatMap, Mask, read_depth, read_mask, read_rgb

log = logging.getLogger(__name__)

FOLDERS = ("ani", "depth", "fg_mask", "mask")
PICTURES = (".png", ".jpg", ".jpeg", ".exr")
# What white and black of a depth picture without a scale stand for: conditioning undoes it exactly.
NEAR_M, FAR_M = 1.0, 1000.0


def check_render_folder(folder: Path, frames: int, size: tuple[int, int]) -> dict[str, list[Path]]:
    """The files of every pass in the order of their numbers. size: pixels (W, H) of the scene.

    Raises InputError if a folder is missing or does not hold `frames` pictures of that size.
    """
    found = {}
    for name in FOLDERS:
        here = folder / name
        if not here.is_dir():
            raise InputError(f"renders {folder} lack the folder {name}; expected {', '.join(FOLDERS)}")
        files = sorted((p for p in here.iterdir() if p.suffix.lower() in PICTURES), key=_number)
        if len(files) != frames:
            raise InputError(
                f"renders {here} hold {len(files)} pictures but the shot has {frames} frames; "
                f"set scene.frames={len(files)}, or render the others"
            )
        found[name] = files
    for files in found.values():
        for file in files:
            if file.suffix.lower() != ".exr":
                _check_size(file, size)
    return found


def import_renders(folder: Path, spec: SceneSpec, out: Path) -> dict[str, Any]:
    """Writes an artist's renders as the render folder `out`; returns metrics.

    There is no optical flow, and the cameras are the scene's own, which need not be the artist's. Raises
    InputError as `check_render_folder`, or for a picture that cannot be read.
    """
    files = check_render_folder(folder, spec.frames, (spec.width, spec.height))
    render, foreground, visible, ranges = RenderFolder(out), [], [], []
    for number in range(1, spec.frames + 1):
        passes = _read_frame({name: found[number - 1] for name, found in files.items()})
        render.write(number, passes)
        foreground.append(float(passes.foreground.mean()))
        visible.append(float(passes.visible.mean()))
        ranges.append(seen_range_m(passes.depth_m))
    depth_range_m = joined_range_m(ranges)
    if files["depth"][0].suffix.lower() != ".exr":
        depth_range_m = (NEAR_M, FAR_M)
    render.write_cameras(_assumed_cameras(spec, depth_range_m))
    log.warning("the cameras of these renders are taken from the scene; scores of the camera may not hold")
    return {
        "frames": spec.frames,
        "renderer": f"folder {folder}",
        "foreground_min": min(foreground),
        "foreground_max": max(foreground),
        "visible_min": min(visible),
        "depth_range_m": depth_range_m,
    }


def _read_frame(files: Mapping[str, Path]) -> CoarseFrame:
    """One frame. What is foreground is visible, whatever the artist's mask says."""
    try:
        rgb = read_rgb(files["ani"])
        foreground, visible = read_mask(files["fg_mask"]), read_mask(files["mask"])
        visible = visible | foreground
        depth_m = _depth(files["depth"], visible)
    except ArtifactError as error:
        raise InputError(f"{error.args[0].split('; ')[0]}; render that frame again") from error
    if depth_m.shape != visible.shape:
        height, width = visible.shape
        raise InputError(
            f"renders {files['depth']} is not {width}x{height} as the other passes; render it again"
        )
    return CoarseFrame(rgb, depth_m, foreground, visible)


def _depth(path: Path, visible: Mask) -> FloatMap:
    """Planar depth (H, W) of one frame, inf where nothing is seen. Raises InputError if it is not positive."""
    if path.suffix.lower() == ".exr":
        depth_m = read_depth(path)
        depth_m = np.where(np.isfinite(depth_m) & (depth_m < 1e9), depth_m, np.inf)
        if not (depth_m > 0).all():
            raise InputError(f"renders {path} holds depths that are not positive; render it in metres")
        return depth_m.astype(np.float32)
    with Image.open(path) as picture:
        values = np.asarray(
            picture if picture.mode.startswith("I") else picture.convert("L"), dtype=np.float64
        )
        top = 65535.0 if picture.mode.startswith("I") else 255.0
    disparity = 1 / FAR_M + values / top * (1 / NEAR_M - 1 / FAR_M)
    return np.where(visible, 1 / disparity, np.inf).astype(np.float32)


def _assumed_cameras(spec: SceneSpec, depth_range_m: Range | None) -> RenderedCameras:
    """The scene's camera at each frame: the last key's up to there."""
    keys = {key.frame: key for key in spec.camera}
    shown = []
    for frame in range(spec.start_frame, spec.last_frame + 1):
        shown.append(keys[max((known for known in keys if known <= frame), default=min(keys))])
    return RenderedCameras(
        width=spec.width,
        height=spec.height,
        frames=tuple(range(1, spec.frames + 1)),
        K=np.array([intrinsics(key.focal_px, spec.cx_px, spec.cy_px) for key in shown]),
        w2c=np.array([np.linalg.inv(np.array(key.world_from_camera)) for key in shown]),
        depth_range_m=depth_range_m,
        fps=spec.fps,
        assumed=True,
    )


def _check_size(file: Path, size: tuple[int, int]) -> None:
    try:
        with Image.open(file) as picture:
            found = picture.size
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"renders {file} is no readable picture; render that frame again") from error
    if found != size:
        raise InputError(
            f"renders {file} is {found[0]}x{found[1]} but the scene is {size[0]}x{size[1]}; "
            f"set scene.width={found[0]} scene.height={found[1]}, or render at the scene's size"
        )


def _number(path: Path) -> tuple[int, str]:
    """Sorts by the last number of a file's name."""
    numbers = re.findall(r"\d+", path.stem)
    return (int(numbers[-1]) if numbers else 0, path.name)
