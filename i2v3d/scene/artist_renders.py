"""An artist's own renders, in folders as the original names them, as the coarse passes of a shot.

ani: colour, EXR in linear light. depth: PNG of 8 or 16 bits, near is bright, or EXR in metres. fg_mask: white where
the foreground is seen. mask: white where anything is seen. A mask may be the alpha channel. Pictures are paired by the
frame that their names say.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from i2v3d.artifacts.render_folder import CoarseFrame, RenderFolder, joined_range_m, seen_range_m
from i2v3d.artifacts.rendered_cameras import Range, RenderedCameras
from i2v3d.artifacts.scene_spec import SceneSpec
from i2v3d.errors import ArtifactError, InputError
from i2v3d.geometry.cameras import intrinsics
from i2v3d.images import FloatMap, Mask, read_rgb
from i2v3d.scene.exr_files import exr_colour, exr_depth, exr_mask, exr_size, joined_mask
from i2v3d.scene.frame_numbers import counted, frame_numbers

log = logging.getLogger(__name__)

FOLDERS = ("ani", "depth", "fg_mask", "mask")
GREY_LEVELS = 8  # that channels of a grey picture may differ by
COMPARED = 8  # frames that are looked at for warnings
PICTURES = (".png", ".jpg", ".jpeg", ".exr")
# What white and black of a depth picture without a scale stand for: conditioning undoes it exactly.
NEAR_M, FAR_M = 1.0, 1000.0


def check_render_folder(folder: Path, frames: int, size: tuple[int, int]) -> dict[str, list[Path]]:
    """The files of every pass in the order of their frames. size: pixels (W, H) of the scene.

    The frame is the one number in which the names differ. Raises InputError if a folder is missing or does not hold
    `frames` pictures of that size, of the same frames as the other passes and without gaps, or if the first frame
    cannot be used: the others will be like it.
    """
    found: dict[str, dict[int, Path]] = {}
    for name in FOLDERS:
        here = folder / name
        if not here.is_dir():
            raise InputError(f"renders {folder} lack the folder {name}; expected {', '.join(FOLDERS)}")
        files = _by_frame(here)
        if not files:
            raise InputError(
                f"renders {here} hold no picture of a kind that is read ({', '.join(PICTURES)}); convert the others"
            )
        if len(files) != frames:
            raise InputError(
                f"renders {here} hold {len(files)} pictures but the shot has {frames} frames; "
                f"set scene.frames={len(files)}, or render the others"
            )
        found[name] = files
    _check_frames(folder, found)
    for files in found.values():
        for file in files.values():
            _check_size(file, size)
    _read_frame({name: files[min(files)] for name, files in found.items()})
    return {name: [files[number] for number in sorted(files)] for name, files in found.items()}


def _by_frame(here: Path) -> dict[int, Path]:
    """Pictures by the frame that their names say. Raises InputError if names say several things, or one twice."""
    files = sorted(p for p in here.iterdir() if p.suffix.lower() in PICTURES and not p.name.startswith("."))
    numbers = frame_numbers([file.stem for file in files])
    if numbers is None and files:
        shown = ", ".join(file.name for file in files[:3])
        raise InputError(
            f"renders {here} have names that differ in more than the number of their frame, or two of one frame "
            f"({shown}); rename them to 0001{files[0].suffix} and so on"
        )
    return dict(zip(numbers or [], files, strict=True))


def _check_frames(folder: Path, found: Mapping[str, Mapping[int, Path]]) -> None:
    """Raises InputError unless all passes have the same frames, at even steps."""
    first = sorted(found[FOLDERS[0]])
    for name in FOLDERS[1:]:
        if sorted(found[name]) != first:
            raise InputError(
                f"renders {folder} have frames {counted(first)} in {FOLDERS[0]} but {counted(sorted(found[name]))} in "
                f"{name}; render or rename them so that the numbers agree"
            )
    step = math.gcd(*(later - earlier for earlier, later in pairwise(first)))
    if lacking := sorted(set(range(first[0], first[-1], step or 1)) - set(first)):
        raise InputError(
            f"renders {folder} have frames {counted(first)} and lack {counted(lacking)}; render them, or number the "
            "others without a gap"
        )


def import_renders(folder: Path, spec: SceneSpec, out: Path) -> dict[str, Any]:
    """Writes an artist's renders as the render folder `out`; returns metrics.

    There is no optical flow, and the cameras are the scene's own, which need not be the artist's. Raises
    InputError as `check_render_folder`, or for a picture that cannot be read.
    """
    files = check_render_folder(folder, spec.frames, (spec.width, spec.height))
    render, foreground, visible, ranges = RenderFolder(out), [], [], []
    shown: list[CoarseFrame] = []
    for number in range(1, spec.frames + 1):
        passes = _read_frame({name: found[number - 1] for name, found in files.items()})
        shown += [passes] if len(shown) < COMPARED else []
        render.write(number, passes)
        foreground.append(float(passes.foreground.mean()))
        visible.append(float(passes.visible.mean()))
        ranges.append(seen_range_m(passes.depth_m))
    _warn_of_depth(shown)
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
        rgb = exr_colour(files["ani"]) if _is_exr(files["ani"]) else read_rgb(files["ani"])
        foreground, visible = _mask(files["fg_mask"]), _mask(files["mask"])
        visible = visible | foreground
        depth_m = _depth(files["depth"], visible)
    except ArtifactError as error:
        raise InputError(f"{error.args[0].split('; ')[0]}; render that frame again") from error
    return CoarseFrame(rgb, depth_m, foreground, visible)


def _is_exr(path: Path) -> bool:
    return path.suffix.lower() == ".exr"


def _mask(path: Path) -> Mask:
    """Where a mask is white, or opaque if its colour says nothing, (H, W); numbers 0 and 1 alone are labels."""
    if _is_exr(path):
        return exr_mask(path)
    try:
        with Image.open(path) as picture:
            grey = np.asarray(picture.convert("RGB").convert("L"))
            white = grey >= (1 if grey.max() == 1 else 128)
            if not picture.has_transparency_data:
                return white
            return joined_mask(white, np.asarray(picture.convert("RGBA").getchannel("A")) >= 128)
    except (OSError, SyntaxError, ValueError) as error:
        raise ArtifactError(f"{path} is not a readable mask ({error}); re-run its stage") from error


def _depth(path: Path, visible: Mask) -> FloatMap:
    """Planar depth (H, W) of one frame, inf where nothing is seen. Raises InputError if it is not positive."""
    if _is_exr(path):
        depth_m = exr_depth(path)
        depth_m = np.where(visible | (depth_m > 0), depth_m, np.float32(np.inf))
        if not (depth_m > 0).all():
            raise InputError(f"renders {path} holds depths that are not positive; render it in metres")
        return depth_m
    with Image.open(path) as picture:
        deep = picture.mode.startswith("I")
        if not deep and picture.mode not in ("L", "LA", "1"):
            channels = np.asarray(picture.convert("RGB")).astype(int)
            if np.ptp(channels, axis=-1).max() > GREY_LEVELS:
                raise InputError(
                    f"renders {path} is coloured; render depth in grey, near is bright, or as EXR in metres"
                )
        values = np.asarray(picture if deep else picture.convert("L"), dtype=np.float64)
        top = 65535.0 if deep else 255.0
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
        if _is_exr(file):
            found = exr_size(file)
        else:
            with Image.open(file) as picture:
                found = picture.size
    except (OSError, UnidentifiedImageError, InputError) as error:
        raise InputError(f"renders {file} is no readable picture; render that frame again") from error
    if found != size:
        raise InputError(
            f"renders {file} is {found[0]}x{found[1]} but the scene is {size[0]}x{size[1]}; "
            f"set scene.width={found[0]} scene.height={found[1]}, or render at the scene's size"
        )


def _warn_of_depth(frames: Sequence[CoarseFrame]) -> None:
    """Warns if the foreground is the farther part of most frames, as if near were dark, or fills all of them."""
    behind, compared, filled = 0, 0, 0
    for frame in frames:
        filled += bool(frame.foreground.all())
        rest = frame.visible & ~frame.foreground & np.isfinite(frame.depth_m)
        front = frame.foreground & np.isfinite(frame.depth_m)
        if front.any() and rest.any():
            compared += 1
            behind += bool(np.median(frame.depth_m[front]) > np.median(frame.depth_m[rest]))
    if compared and behind > compared / 2:
        log.warning(
            "the foreground of these renders is behind the rest in most frames; near must be bright in depth"
        )
    if frames and filled == len(frames):
        log.warning(
            "fg_mask of these renders is white everywhere; expected white where the foreground is seen"
        )
