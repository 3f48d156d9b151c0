"""The coarse passes of a shot on disk: which files a render folder holds, who writes and who reads them.

    rgb/NNNN.png       8-bit sRGB
    depth/NNNN.exr     planar depth in metres, inf where nothing is seen
    fg_mask/NNNN.png   255 where the foreground is seen
    mask/NNNN.png      255 where any surface is seen
    flow/NNNN.exr      pixels to the next frame, x right and y down; not of the last frame, or of none at all
    lit/NNNN.png       colour under the photo's light, where that was asked for
    surface/NNNN.npy   points of all of the foreground's surface, world axes, metres; until lit is made of them
    cameras.json       `RenderedCameras`

Frames count from 1.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from i2v3d.artifacts.folders import frame_name, list_frames, require
from i2v3d.artifacts.rendered_cameras import CAMERAS_FILE, Range, RenderedCameras
from i2v3d.config.bounds import RenderLight
from i2v3d.errors import ArtifactError, InputError, ShapeError
from i2v3d.images import (
    FloatMap,
    Mask,
    Rgb,
    read_depth,
    read_flow,
    read_mask,
    read_pictures,
    read_rgb,
    write_depth,
    write_flow,
    write_mask,
    write_rgb,
)

Pass = Literal["rgb", "depth", "fg_mask", "mask", "flow", "lit", "surface"]
SUFFIXES: dict[Pass, str] = {
    "rgb": "png",
    "depth": "exr",
    "fg_mask": "png",
    "mask": "png",
    "flow": "exr",
    "lit": "png",
    "surface": "npy",
}
ALWAYS: tuple[Pass, ...] = ("rgb", "depth", "fg_mask", "mask")
COLOUR: dict[RenderLight, Literal["rgb", "lit"]] = {"flat": "rgb", "photo": "lit"}  # the pass of a light


@dataclass(frozen=True, eq=False)
class CoarseFrame:
    """The passes of one frame.

    rgb: (H, W, 3) uint8. depth_m: (H, W) float32, planar, inf where nothing is seen. foreground, visible:
    (H, W) bool, where the foreground and where any surface is seen. flow_px: (H, W, 2) float32 to the next
    frame; None of the last one, or where nobody knows it. Raises ShapeError if they do not belong together
    or a depth is not positive.
    """

    rgb: Rgb
    depth_m: FloatMap
    foreground: Mask
    visible: Mask
    flow_px: FloatMap | None = None

    def __post_init__(self) -> None:
        size = self.rgb.shape[:2]
        expected: list[tuple[str, NDArray[Any], tuple[int, ...], type]] = [
            ("rgb", self.rgb, (*size, 3), np.uint8),
            ("depth_m", self.depth_m, size, np.float32),
            ("foreground", self.foreground, size, np.bool_),
            ("visible", self.visible, size, np.bool_),
        ]
        if self.flow_px is not None:
            expected.append(("flow_px", self.flow_px, (*size, 2), np.float32))
        for name, values, shape, kind in expected:
            if values.shape != shape or values.dtype != kind:
                raise ShapeError(
                    f"{name} of a coarse frame is {values.shape} {values.dtype}; expected {shape} {kind.__name__}"
                )
        if not (self.depth_m > 0).all():
            raise ShapeError(
                "depth_m of a coarse frame holds NaN or values that are not positive; render it again"
            )


@dataclass(frozen=True, eq=False)
class CoarsePasses:
    """The passes of N frames but flow, stacked: rgb (N, H, W, 3) uint8, depth_m (N, H, W) float32, foreground and
    visible (N, H, W) bool; see `CoarseFrame`."""

    rgb: NDArray[np.uint8]
    depth_m: FloatMap
    foreground: Mask
    visible: Mask


@dataclass(frozen=True)
class RenderFolder:
    """A render folder at `path`."""

    path: Path

    def file(self, name: Pass, frame: int) -> Path:
        """Where a pass of a frame lies."""
        return self.folder(name) / frame_name(frame, SUFFIXES[name])

    def folder(self, name: Pass) -> Path:
        """Where a pass of all frames lies."""
        return self.path / name

    # ------------------------------------------------------------ writing
    def write(self, frame: int, passes: CoarseFrame) -> None:
        """Writes the passes of one frame; several processes may write frames of one folder."""
        names = ALWAYS if passes.flow_px is None else (*ALWAYS, "flow")
        for name in names:
            self.folder(name).mkdir(parents=True, exist_ok=True)
        write_rgb(self.file("rgb", frame), passes.rgb)
        write_depth(self.file("depth", frame), passes.depth_m)
        write_mask(self.file("fg_mask", frame), passes.foreground)
        write_mask(self.file("mask", frame), passes.visible)
        if passes.flow_px is not None:
            write_flow(self.file("flow", frame), passes.flow_px)

    def write_surface(self, frame: int, points_m: FloatMap) -> None:
        """Writes points (M, 3) float32 of the foreground's surface at a frame."""
        self.folder("surface").mkdir(parents=True, exist_ok=True)
        np.save(self.file("surface", frame), points_m, allow_pickle=False)

    def write_lit(self, frame: int, rgb: Rgb) -> None:
        """Writes a frame's colour (H, W, 3) uint8 under the photo's light."""
        self.folder("lit").mkdir(parents=True, exist_ok=True)
        write_rgb(self.file("lit", frame), rgb)

    def forget_surfaces(self) -> None:
        """Deletes what `write_surface` wrote."""
        shutil.rmtree(self.folder("surface"), ignore_errors=True)

    def take(self, other: RenderFolder) -> None:
        """Takes all passes of another folder's frames as they are, by links if possible. Raises OSError."""
        for name in SUFFIXES:
            for file in sorted(other.folder(name).glob("*")):
                own = self.folder(name) / file.name
                own.parent.mkdir(parents=True, exist_ok=True)
                own.unlink(missing_ok=True)
                try:
                    own.hardlink_to(file)
                except OSError:
                    shutil.copy2(file, own)

    def write_cameras(self, cameras: RenderedCameras) -> None:
        """Writes the cameras of the frames. Raises ArtifactError if a number is not finite."""
        cameras.save(self.path)

    # ------------------------------------------------------------ reading
    def frame_count(self) -> int:
        """How many frames T there are. Raises ArtifactError if a pass or one of the frames 1 ... T is missing."""
        require(self.path, *ALWAYS, CAMERAS_FILE)
        frames = list_frames(self.folder("rgb"))
        if frames != list(range(1, frames[-1] + 1)):
            lacking = next(n for n in range(1, frames[-1]) if n not in frames)
            raise ArtifactError(
                f"{self.folder('rgb')} lacks {frame_name(lacking)}; delete {self.path} and re-run render"
            )
        return frames[-1]

    def check(self, frames: int, *, flow: bool) -> None:
        """Raises ArtifactError unless every pass has the frames 1 to `frames` and no other. flow: it has some."""
        require(self.path, *ALWAYS, CAMERAS_FILE)
        for name in (*ALWAYS, "flow") if flow else ALWAYS:
            expected = list(range(1, frames if name == "flow" else frames + 1))
            found = list_frames(self.folder(name), SUFFIXES[name]) if expected else []
            if found != expected:
                wrong = sorted(set(expected) ^ set(found))
                raise ArtifactError(
                    f"{self.path}: pass {name} has {len(found)} of {len(expected)} frames, see {wrong}; "
                    "re-run the render"
                )

    def rgb(self, frame: int) -> Rgb:
        """Colour (H, W, 3) uint8 of a frame. This and the others raise ArtifactError for a missing or bad file."""
        return read_rgb(self.file("rgb", frame))

    def depth_m(self, frame: int) -> FloatMap:
        """Planar depth (H, W) float32 in metres, inf where nothing is seen."""
        return read_depth(self.file("depth", frame))

    def foreground(self, frame: int) -> Mask:
        """Where the foreground is seen, (H, W) bool."""
        return read_mask(self.file("fg_mask", frame))

    def visible(self, frame: int) -> Mask:
        """Where any surface is seen, (H, W) bool."""
        return read_mask(self.file("mask", frame))

    @property
    def has_flow(self) -> bool:
        """Whether the render came with optical flow."""
        return self.folder("flow").is_dir()

    def flow_px(self, frame: int) -> FloatMap:
        """Optical flow (H, W, 2) float32 in pixels to the next frame."""
        return read_flow(self.file("flow", frame))

    def surface_m(self, frame: int) -> FloatMap:
        """Points (M, 3) of all of the foreground's surface; (0, 3) where nobody knows it, as of an artist's renders."""
        file = self.file("surface", frame)
        return np.load(file, allow_pickle=False) if file.is_file() else np.zeros((0, 3), dtype=np.float32)

    def passes(self, frames: Sequence[int], colour: Literal["rgb", "lit"] = "rgb") -> CoarsePasses:
        """The passes of some frames.

        Raises ArtifactError if a file is missing or its size is not the first one's, InputError if no frame is lit.
        """
        if colour == "lit" and not self.folder("lit").is_dir():
            raise InputError(
                f"{self.path} has no frames under the photo's light, which is found where frame 1 is the photo's own "
                "view; choose render.light=flat"
            )
        rgb = read_pictures(read_rgb, [self.file(colour, n) for n in frames])
        depth_m = read_pictures(read_depth, [self.file("depth", n) for n in frames])
        foreground, visible = (
            read_pictures(read_mask, [self.file(name, n) for n in frames]) for name in ("fg_mask", "mask")
        )
        size = rgb[0].shape[:2]
        read: dict[Pass, Sequence[NDArray[Any]]]
        read = {colour: rgb, "depth": depth_m, "fg_mask": foreground, "mask": visible}
        for name, pictures in read.items():
            for n, picture in zip(frames, pictures, strict=True):
                if picture.shape[:2] != size:
                    raise ArtifactError(
                        f"{self.file(name, n)} is {picture.shape[1]}x{picture.shape[0]} but the first frame is "
                        f"{size[1]}x{size[0]}; delete the folder and re-run render"
                    )
        return CoarsePasses(np.stack(rgb), np.stack(depth_m), np.stack(foreground), np.stack(visible))

    def cameras(self) -> RenderedCameras:
        """The cameras of the frames. Raises ArtifactError as `RenderedCameras.load`."""
        return RenderedCameras.load(self.path / CAMERAS_FILE)

    def depth_range_m(self) -> Range:
        """(near, far) over the whole shot. Raises ArtifactError if the render did not write it."""
        found = self.cameras().depth_range_m
        if found is None:
            raise ArtifactError(
                f"{self.path / CAMERAS_FILE} holds no depth_range_m; delete {self.path} and re-run render"
            )
        return found


def seen_range_m(depth_m: FloatMap) -> Range | None:
    """(nearest, farthest) finite depth; None if there is none."""
    seen = depth_m[np.isfinite(depth_m)]
    return (float(seen.min()), float(seen.max())) if seen.size else None


def joined_range_m(ranges: Iterable[Sequence[float] | None]) -> Range | None:
    """The range that covers all of these; None if there is none."""
    known = [found for found in ranges if found is not None]
    return (min(near for near, _ in known), max(far for _, far in known)) if known else None
