"""EXR files of other programs: which of their channels hold depth, colour or a mask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2v3d.errors import ArtifactError, InputError
from i2v3d.images import FloatMap, read_exr_channels

_DEPTH = ("Z", "V", "Y", "depth", "Depth", "R")  # the first that is there; R where all three are the same
_DEPTH_ENDS = (".depth.z", ".depth.v", "depth.z", "depth.v", ".z")
_COLOURS = (("R", "G", "B"), ("r", "g", "b"), ("Y", "Y", "Y"), ("V", "V", "V"))
_HALF_FAR = 65000.0  # half floats end at 65504: what is there means infinitely far

Channels = dict[str, NDArray[Any]]


def exr_size(path: Path) -> tuple[int, int]:
    """Pixels (W, H), from the header. Raises InputError if it is no EXR."""
    import OpenEXR

    try:
        with OpenEXR.File(str(path), separate_channels=True, header_only=True) as file:
            low, high = file.header()["dataWindow"]
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is not a readable EXR; write it again") from error
    return int(high[0] - low[0]) + 1, int(high[1] - low[1]) + 1


def exr_depth(path: Path) -> FloatMap:
    """Depth (H, W) float32 as the file has it, inf where it is farther than anything.

    The channel is Blender's (V, ViewLayer.Depth.Z, or R = G = B), or one called Z, Y or depth. Raises InputError
    without one, or with several.
    """
    channels = _channels(path)
    values = channels[_depth_name(path, channels)]
    depth = values.astype(np.float32)
    far = _HALF_FAR if values.dtype == np.float16 else 1e9
    return np.where(np.isfinite(depth) & (depth < far), depth, np.float32(np.inf))


def _depth_name(path: Path, channels: Channels) -> str:
    ends = [name for name in channels if name.lower().endswith(_DEPTH_ENDS) and name not in _DEPTH]
    known = [name for name in _DEPTH if name in channels]
    colour = {"R", "G", "B"} <= set(channels)
    if known and known[0] == "R" and colour and not _grey(channels):
        known = []
    if known and not (known[0] == "R" and ends):
        return known[0]
    if len(ends) == 1:
        return ends[0]
    shown = ", ".join(sorted(channels))
    raise InputError(
        f"{path} has the channels {shown}; expected one of depth: Z, V, Y, R = G = B, or one that ends in Depth.Z"
    )


def _grey(channels: Channels) -> bool:
    return bool(
        np.array_equal(channels["R"], channels["G"], equal_nan=True)
        and np.array_equal(channels["R"], channels["B"], equal_nan=True)
    )


def exr_colour(path: Path) -> NDArray[np.uint8]:
    """Linear light of a file as sRGB (H, W, 3) uint8; of several layers, the one called Combined.

    Raises InputError if it has no colour.
    """
    channels = _channels(path)
    linear = np.stack([channels[name] for name in _colour_names(path, channels)], axis=-1).astype(np.float64)
    value = np.clip(np.nan_to_num(linear), 0, 1)
    encoded = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)  # IEC 61966-2-1
    return np.rint(encoded * 255).astype(np.uint8)


def exr_mask(path: Path) -> NDArray[np.bool_]:
    """Where a file is at least half white, (H, W): its only channel, its red one, or its alpha if red says nothing."""
    channels = _channels(path)
    if len(channels) == 1:
        return np.asarray(next(iter(channels.values()))) >= 0.5
    white = np.asarray(channels[_colour_names(path, channels)[0]]) >= 0.5
    alpha = next(
        (values for name, values in channels.items() if name in ("A", "a") or name.endswith(".A")), None
    )
    return white if alpha is None else joined_mask(white, np.asarray(alpha) >= 0.5)


def joined_mask(white: NDArray[np.bool_], opaque: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What a picture with transparency means as a mask: the one of both that varies, or where both are set."""
    if opaque.all() or not opaque.any():
        return white
    inside = white[opaque]
    return opaque if inside.all() or not inside.any() else white & opaque


def _colour_names(path: Path, channels: Channels) -> Sequence[str]:
    for names in _COLOURS:
        if set(names) <= set(channels):
            return names
    ends = [
        name[:-1]
        for name in channels
        if name.endswith(".R") and {name[:-1] + c for c in "GB"} <= set(channels)
    ]
    combined = [prefix for prefix in ends if prefix.lower().endswith(("combined.", "rgba."))]
    chosen = combined or ends
    if len(chosen) != 1:
        raise InputError(
            f"{path} has the channels {', '.join(sorted(channels))}; expected one set of R, G and B"
        )
    return [f"{chosen[0]}{c}" for c in "RGB"]


def _channels(path: Path) -> Channels:
    try:
        return read_exr_channels(path)
    except ArtifactError as error:
        raise InputError(f"{path} is not a readable EXR; write it again") from error
