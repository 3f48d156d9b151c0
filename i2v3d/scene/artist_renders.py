"""An artist's own renders, in folders as the original names them, as the coarse passes of a shot.

ani: colour. depth: PNG of 8 or 16 bits, near is bright, or EXR in metres. fg_mask: white where the foreground
is seen. mask: white where anything is seen.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from i2v3d.artifacts.folders import frame_name
from i2v3d.artifacts.scene_spec import SceneSpec
from i2v3d.errors import ArtifactError, InputError
from i2v3d.images import (
    FloatMap,
    Mask,
    Rgb,
    read_depth,
    read_mask,
    read_rgb,
    write_depth,
    write_mask,
    write_rgb,
)

log = logging.getLogger(__name__)

FOLDERS = {"ani": "rgb", "depth": "depth", "fg_mask": "fg_mask", "mask": "mask"}  # theirs -> ours
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
    """Writes an artist's renders into out/{rgb,depth,fg_mask,mask}/ and out/cameras.json; returns metrics.

    There is no optical flow, and the cameras are the scene's own, which need not be the artist's. Raises
    InputError as `check_render_folder`, or for a picture that cannot be read.
    """
    files = check_render_folder(folder, spec.frames, (spec.width, spec.height))
    for name in FOLDERS.values():
        (out / name).mkdir(parents=True, exist_ok=True)
    rows = [_import_frame(out, n, {k: v[n - 1] for k, v in files.items()}) for n in range(1, spec.frames + 1)]
    ranges = [row["depth_range_m"] for row in rows if row["depth_range_m"] is not None]
    depth_range_m = [min(near for near, _ in ranges), max(far for _, far in ranges)] if ranges else None
    if files["depth"][0].suffix.lower() != ".exr":
        depth_range_m = [NEAR_M, FAR_M]
    _write_cameras(out / "cameras.json", spec, depth_range_m)
    foreground = [row["foreground"] for row in rows]
    return {
        "frames": spec.frames,
        "renderer": f"folder {folder}",
        "foreground_min": min(foreground),
        "foreground_max": max(foreground),
        "visible_min": min(row["visible"] for row in rows),
        "depth_range_m": depth_range_m,
    }


def _import_frame(out: Path, number: int, files: Mapping[str, Path]) -> dict[str, Any]:
    """Writes one frame; returns what it shows."""
    try:
        rgb: Rgb = read_rgb(files["ani"])
        foreground, visible = read_mask(files["fg_mask"]), read_mask(files["mask"])
        depth_m = _depth(files["depth"], visible | foreground)
    except ArtifactError as error:
        raise InputError(f"{error.args[0].split('; ')[0]}; render that frame again") from error
    visible = visible | foreground
    if depth_m.shape != visible.shape:
        height, width = visible.shape
        raise InputError(
            f"renders {files['depth']} is not {width}x{height} as the other passes; render it again"
        )
    write_rgb(out / "rgb" / frame_name(number), rgb)
    write_depth(out / "depth" / frame_name(number, "exr"), depth_m)
    write_mask(out / "fg_mask" / frame_name(number), foreground)
    write_mask(out / "mask" / frame_name(number), visible)
    seen = depth_m[np.isfinite(depth_m)]
    return {
        "foreground": float(foreground.mean()),
        "visible": float(visible.mean()),
        "depth_range_m": [float(seen.min()), float(seen.max())] if seen.size else None,
    }


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


def _write_cameras(path: Path, spec: SceneSpec, depth_range_m: list[float] | None) -> None:
    """The scene's cameras, said to be assumed: K and w2c of each frame."""
    keys = {key.frame: key for key in spec.camera}
    shown = []
    for frame in range(spec.start_frame, spec.last_frame + 1):
        shown.append(keys[max((known for known in keys if known <= frame), default=min(keys))])
    log.warning("the cameras of these renders are taken from the scene; scores of the camera may not hold")
    data = {
        "width": spec.width,
        "height": spec.height,
        "fps": spec.fps,
        "frames": list(range(1, spec.frames + 1)),
        "K": [[[k.focal_px, 0, spec.cx_px], [0, k.focal_px, spec.cy_px], [0, 0, 1]] for k in shown],
        "w2c": [np.linalg.inv(np.array(k.world_from_camera)).tolist() for k in shown],
        "depth_range_m": depth_range_m,
        "assumed": True,
    }
    path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n")


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
