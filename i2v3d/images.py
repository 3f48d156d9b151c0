"""Pictures, float maps and videos on disk, each with its unit. Arrays are (H, W[, channels]), top first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from i2v3d.errors import ArtifactError, ShapeError

Rgb = NDArray[np.uint8]
Mask = NDArray[np.bool_]
FloatMap = NDArray[np.float32]
T = TypeVar("T", bound=np.generic)
ENCODER = "libx264"  # of videos
THREADS = 8  # that read or pack pictures


def read_rgb(path: Path) -> Rgb:
    """An sRGB picture as (H, W, 3) uint8. Raises ArtifactError if it is missing or no picture."""
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise ArtifactError(f"{path} is not a readable picture ({error}); re-run its stage") from error


def write_rgb(path: Path, rgb: Rgb) -> None:
    """Writes (H, W, 3) uint8 sRGB as PNG. Raises ShapeError for anything else."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ShapeError(f"{path}: expected (H, W, 3) uint8, got {rgb.shape} {rgb.dtype}")
    Image.fromarray(rgb).save(path, format="PNG", compress_level=4)


def write_pictures(pictures: Iterable[tuple[Path, Rgb]]) -> None:
    """Writes each picture (H, W, 3) under its path as `write_rgb` does, several at once."""
    with ThreadPoolExecutor(THREADS) as writers:
        for written in [writers.submit(write_rgb, path, picture) for path, picture in pictures]:
            written.result()


def read_pictures(read: Callable[[Path], NDArray[T]], files: Sequence[Path]) -> list[NDArray[T]]:
    """What `read`, one of the functions of here, finds in every file; reads several at once."""
    with ThreadPoolExecutor(THREADS) as readers:
        return list(readers.map(read, files))


def read_mask(path: Path) -> Mask:
    """A mask picture (0 or 255) as (H, W) bool; 128 and above count as set."""
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("L")) >= 128
    except (OSError, UnidentifiedImageError) as error:
        raise ArtifactError(f"{path} is not a readable mask ({error}); re-run its stage") from error


def write_mask(path: Path, mask: Mask) -> None:
    """Writes (H, W) bool as a PNG of 0 and 255."""
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise ShapeError(f"{path}: expected (H, W) bool, got {mask.shape} {mask.dtype}")
    Image.fromarray(mask.astype(np.uint8) * 255).save(path, format="PNG", compress_level=4)


def read_depth(path: Path) -> FloatMap:
    """Planar depth in metres as (H, W) float32; inf where nothing is seen."""
    return _read_exr(path, ["Z"])[..., 0]


def write_depth(path: Path, depth_m: FloatMap) -> None:
    """Writes planar depth in metres, (H, W) float32, as a one-channel EXR."""
    _write_exr(path, depth_m[..., None], ["Z"])


def read_flow(path: Path) -> FloatMap:
    """Optical flow to the next frame in pixels, (H, W, 2) float32: x to the right, y down."""
    return _read_exr(path, ["forward.x", "forward.y"])


def write_flow(path: Path, flow_px: FloatMap) -> None:
    """Writes optical flow in pixels, (H, W, 2) float32, as a two-channel EXR."""
    _write_exr(path, flow_px, ["forward.x", "forward.y"])


def read_exr_channels(path: Path) -> dict[str, NDArray[Any]]:
    """Every channel of an EXR file by name, each (H, W). Raises ArtifactError if it cannot be read."""
    import OpenEXR

    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            return {name: np.array(channel.pixels) for name, channel in file.channels().items()}
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path} is not a readable EXR ({error}); re-run its stage") from error


def _read_exr(path: Path, names: Sequence[str]) -> FloatMap:
    channels = read_exr_channels(path)
    missing = [name for name in names if name not in channels]
    if missing:
        raise ArtifactError(f"{path} lacks channel {missing[0]}, has {', '.join(channels)}")
    return np.stack([channels[name] for name in names], axis=-1).astype(np.float32)


def _write_exr(path: Path, values: FloatMap, names: Sequence[str]) -> None:
    import OpenEXR

    if values.ndim != 3 or values.shape[2] != len(names):
        raise ShapeError(f"{path}: expected (H, W, {len(names)}), got {values.shape}")
    channels = {n: np.ascontiguousarray(values[..., i], dtype=np.float32) for i, n in enumerate(names)}
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, channels) as file:
        file.write(str(path))


def write_video(path: Path, frames: Iterable[Rgb], fps: int, crf: int) -> int:
    """Encodes (H, W, 3) uint8 frames as H.264, yuv420p, with the index first; returns the frame count.

    Odd sizes lose their last row or column, as yuv420p needs even ones. crf: 0 lossless to 51 worst.
    Raises ShapeError if a frame's size differs from the first one's or there is no frame.
    """
    import av

    count, size = 0, None
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        # x264's macroblock tree gives other bytes for the same frames now and then on CPUs with AVX-512.
        options = {"crf": str(crf), "preset": "medium", "mbtree": "0"}
        stream = container.add_stream(ENCODER, rate=Fraction(fps), options=options)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1  # the bytes then do not depend on the machine's cores
        stream.codec_context.color_range = 1
        for rgb in frames:
            if size is None:
                size = rgb.shape
                stream.height, stream.width = rgb.shape[0] // 2 * 2, rgb.shape[1] // 2 * 2
            if rgb.shape != size:
                raise ShapeError(f"{path}: frame {count + 1} is {rgb.shape}, the first one {size}")
            even = np.ascontiguousarray(rgb[: stream.height, : stream.width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
            count += 1
        if size is None:
            raise ShapeError(f"{path}: a video needs at least one frame")
        container.mux(stream.encode())
    return count


def read_video(path: Path) -> NDArray[np.uint8]:
    """All frames of a video as (T, H, W, 3) uint8. Raises ArtifactError if it cannot be decoded."""
    import av

    try:
        with av.open(str(path)) as container:
            return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    except (av.error.FFmpegError, ValueError) as error:
        raise ArtifactError(f"{path} is not a readable video ({error})") from error


def grid(rows: Sequence[Sequence[Rgb]], gap_px: int = 4) -> Rgb:
    """One picture of rows of equally sized pictures, `gap_px` white pixels apart; short rows end in white."""
    height, width = rows[0][0].shape[:2]
    columns = max(len(row) for row in rows)
    sheet = np.full(
        (len(rows) * (height + gap_px) - gap_px, columns * (width + gap_px) - gap_px, 3), 255, np.uint8
    )
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            if picture.shape != (height, width, 3):
                raise ShapeError(f"picture {r}, {c} of a sheet is {picture.shape}, not {height, width, 3}")
            top, left = r * (height + gap_px), c * (width + gap_px)
            sheet[top : top + height, left : left + width] = picture
    return sheet
