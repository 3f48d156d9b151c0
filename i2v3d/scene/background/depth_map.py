"""Depth maps as users and networks give them, and their fit to the scene's ground, wall and distance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from i2v3d.errors import ConfigError, InputError
from i2v3d.geometry.cameras import Array
from i2v3d.images import FloatMap, Mask
from i2v3d.scene.exr_files import exr_depth

Kind = Literal["metric", "disparity"]
SUFFIXES = (".png", ".exr", ".npy")
FARTHEST = 20.0  # times the wall's distance: what is beyond, the sky too, is put there
FEWEST_PIXELS = 50  # that a fit needs
ROUNDS = 8  # of the robust fit


def check_depth_file(path: Path) -> None:
    """Raises InputError if a depth map is missing, empty or of a suffix that is not read."""
    if not path.is_file():
        raise InputError(f"depth map {path} does not exist; give a .png of 16 bits, an .exr or a .npy")
    if path.stat().st_size == 0:
        raise InputError(f"depth map {path} is empty (0 bytes); export it again")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"depth map {path} is no {', '.join(SUFFIXES)} file; export it as one of them")


def load_depth(path: Path, width: int, height: int, unit_m: float, kind: Kind) -> FloatMap:
    """A depth map (H, W) float32 of the photo's size: metres (times `unit_m`), or disparity of any scale.

    PNG: 16-bit grey. EXR: see `exr_depth`. NPY: (H, W), or a point map (H, W, 3) in camera axes (z
    forward), of which z is taken. Metric: 0 and what is not finite mean very far (inf). Raises InputError if it
    cannot be read, has another size, holds negative numbers, or says nothing on most pixels.
    """
    check_depth_file(path)
    readers = {".png": _read_png, ".exr": exr_depth, ".npy": _read_npy}
    values = readers[path.suffix.lower()](path).astype(np.float32)
    if values.shape != (height, width):
        shape = "x".join(str(side) for side in values.shape[::-1])
        raise InputError(
            f"depth map {path} is {shape} but the photo is {width}x{height}; export it at the photo's size"
        )
    known = np.isfinite(values) & (values != 0)
    if known.mean() < 0.5:
        raise InputError(
            f"depth map {path} holds a finite number other than 0 on {known.mean():.0%} of its pixels only; "
            "expected most of them"
        )
    if (values[known] < 0).any():
        raise InputError(f"depth map {path} holds negative numbers; expected depth or disparity, above 0")
    if kind == "metric":
        return np.where(known, values * np.float32(unit_m), np.float32(np.inf))
    return np.where(np.isfinite(values), values, np.float32(0))


def _read_png(path: Path) -> npt.NDArray[np.float32]:
    try:
        with Image.open(path) as picture:
            mode = picture.mode
            if mode not in ("I;16", "I;16B", "I"):
                raise InputError(
                    f"depth map {path} has pixel mode {mode}; expected grey of 16 bits, as 8 bits are too coarse"
                )
            return np.asarray(picture).astype(np.float32)
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise InputError(f"depth map {path} is not a readable PNG ({error}); export it again") from error


def _read_npy(path: Path) -> npt.NDArray[np.float32]:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"depth map {path} is not a readable .npy array ({error}); save it again") from error
    if values.dtype.kind not in "fiu":
        raise InputError(f"depth map {path} holds {values.dtype}, expected numbers")
    values = values.squeeze()
    return values[..., 2] if values.ndim == 3 and values.shape[2] == 3 else values


@dataclass(frozen=True)
class Fit:
    """How a map was brought to the scene's scale: depth = scale * map, or disparity = scale * map + shift.

    error: median relative difference of the fitted depth from the reference.
    """

    scale: float
    shift: float
    error: float


def fit_metric(depth_m: FloatMap, reference_m: Array, where: Mask) -> Fit:
    """The factor that brings metric depth (H, W) to a reference, the median over `where`, (H, W) bool.

    Raises ConfigError if fewer than `FEWEST_PIXELS` pixels can be compared.
    """
    used = where & np.isfinite(depth_m) & np.isfinite(reference_m)
    _require(used)
    scale = float(np.median(reference_m[used] / depth_m[used]))
    return Fit(scale, 0.0, _error(scale * depth_m[used], reference_m[used]))


def fit_disparity(disparity: FloatMap, reference_m: Array, where: Mask) -> Fit:
    """Factor and shift that bring disparity of any scale (H, W) to 1 / reference, over `where`, (H, W) bool.

    Iteratively reweighted least squares, so that what rises above the ground does not bend the fit. Raises
    ConfigError if the disparity is constant there or falls where the reference comes nearer.
    Source: the alignment of Ranftl et al., "Towards Robust Monocular Depth Estimation", 2020, made robust.
    """
    used = where & np.isfinite(disparity) & np.isfinite(reference_m)
    _require(used)
    given, wanted = disparity[used].astype(np.float64), 1.0 / reference_m[used]
    matrix = np.stack([given, np.ones_like(given)], axis=1)
    weight = np.ones_like(given)
    for _ in range(ROUNDS):
        scale, shift = np.linalg.lstsq(matrix * weight[:, None], wanted * weight, rcond=None)[0]
        off = np.abs(scale * given + shift - wanted)
        weight = 1.0 / np.sqrt(np.maximum(off, 1e-3 * float(np.median(wanted))))
    if not scale * float(np.ptp(given)) > 1e-3 * float(np.median(wanted)):
        raise ConfigError(
            "the disparity map does not come nearer where the ground does; check scene.background.horizon, and "
            "scene.background.depth.kind (metric where large numbers are far)"
        )
    fitted = 1.0 / np.maximum(scale * given + shift, 1e-6)
    return Fit(float(scale), float(shift), _error(fitted, reference_m[used]))


def to_metres(values: FloatMap, kind: Kind, fit: Fit, farthest_m: float) -> Array:
    """A fitted map (H, W) as depth in metres, at most `farthest_m`."""
    if kind == "metric":
        return np.minimum(fit.scale * values.astype(np.float64), farthest_m)
    return 1.0 / np.maximum(fit.scale * values.astype(np.float64) + fit.shift, 1.0 / farthest_m)


def sharpened(disparity: Array, radius_px: int, cut: float) -> Array:
    """Disparity (H, W) whose ramps of up to `radius_px` pixels between two surfaces became steps.

    A network's maps run smoothly from a near surface to a far one, which a mesh would stretch. A pixel lies on
    such a ramp if the disparity around it spans more than the fraction `cut`, and hardly more when looking
    twice as far (on a slanted plane it spans twice as much); it then takes the nearer of the two ends.
    """
    if radius_px < 1:
        return disparity
    values = disparity.astype(np.float32)
    near, far = _ends(values, radius_px)
    wide_near, wide_far = _ends(values, 2 * radius_px)
    span = near - far
    ramp = (span > cut * far) & (wide_near - wide_far < 1.5 * span)
    return np.where(ramp, np.where(near - values < values - far, near, far), values).astype(np.float64)


def _ends(values: FloatMap, radius_px: int) -> tuple[FloatMap, FloatMap]:
    """The largest and the smallest value (H, W) within a square of some radius around each pixel."""
    square = np.ones((2 * radius_px + 1, 2 * radius_px + 1), np.uint8)
    return cv2.dilate(values, square), cv2.erode(values, square)


def fill_behind(depth_m: Array, hole: Mask) -> Array:
    """Depth (H, W) in metres with `hole` filled smoothly, in disparity, from what surrounds it."""
    if not hole.any():
        return depth_m
    disparity = np.where(hole, 0.0, 1.0 / depth_m).astype(np.float32)
    weight = (~hole).astype(np.float32)
    return np.where(hole, 1.0 / np.maximum(_pull_push(disparity, weight), 1e-9), depth_m)


def _pull_push(values: FloatMap, weight: FloatMap) -> FloatMap:
    """Fills a map (H, W) where `weight` is 0 from ever coarser averages. Source: Gortler et al. 1996."""
    height, width = weight.shape
    if weight.min() >= 1.0 or max(height, width) == 1:
        return values
    size = ((width + 1) // 2, (height + 1) // 2)
    small_weight = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(values * weight, size, interpolation=cv2.INTER_AREA) / np.maximum(small_weight, 1e-6)
    coarse = _pull_push(small, np.minimum(1.0, 4.0 * small_weight))
    coarse = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return coarse + weight * (values - coarse)


def _require(used: Mask) -> None:
    if int(used.sum()) < FEWEST_PIXELS:
        raise ConfigError(
            f"only {int(used.sum())} pixels of the depth map show the background; expected {FEWEST_PIXELS} at "
            "least to fit its scale: check the mask, or set scene.background.depth.fit=false"
        )


def _error(fitted_m: Array, reference_m: Array) -> float:
    return float(np.median(np.abs(fitted_m / reference_m - 1.0)))
