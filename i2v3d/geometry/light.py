"""The light of a photo, found on a render of the same view that knows none, and put on renders of other views.

Pictures are (H, W, 3) uint8, depth maps (H, W) planar metres (inf: nothing), foregrounds (H, W) bool, normals (H, W, 3)
in world axes with z up. Light is linear: display values to the power of GAMMA.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from i2v3d.geometry.cameras import Array, ArrayLike, pixel_centres, unproject
from i2v3d.images import Mask, Rgb

GAMMA = 2.2
DIRECTIONS = 128  # of the sun, evenly over the sky: about 13 degrees apart
PIXELS = 4000  # of the object that the light is fitted on, at most
FEWEST = 16  # pixels that say something
FAR = 10  # times the object's depth: what is farther is the sky and shines by itself
DARKEST = 0.01  # linear: darker surfaces say nothing about what falls on them
STEADIER = 1e-6  # of the mean square, added to it: keeps terms apart that one surface cannot tell


@dataclass(frozen=True)
class Light:
    """sun: (3,) unit, towards it. terms: (3, 3), a channel a row: what lights every side, what comes from above, the
    sun. gain: (3,) of the background. far_m: from where on nothing is lit."""

    sun: Array
    terms: Array
    gain: Array
    far_m: float

    def on(self, rgb: Rgb, normals: Array, foreground: Mask, depth_m: ArrayLike) -> Rgb:
        """The picture under this light; it casts no shadows.

        Lambert's law for the object, from its normals; the surfaces behind it, which one photo shows from one side
        only, are lit alike, and what lies beyond far_m stays as it is.
        """
        linear = _linear(rgb)
        factor = np.ones_like(linear)
        factor[~foreground & (np.asarray(depth_m) < self.far_m)] = self.gain
        factor[foreground] = _basis(normals[foreground], self.sun) @ self.terms.T
        shown: Rgb = np.rint((linear * factor).clip(0, 1) ** (1 / GAMMA) * 255).astype(np.uint8)
        return shown


def fit_light(photo: Rgb, rgb: Rgb, normals: Array, foreground: Mask, depth_m: ArrayLike) -> Light:
    """The light under which the render `rgb`, which shows albedo alone, comes nearest to the photo of the same view.

    Of the object: least squares of linear light over the sun's direction above the horizon and three terms a channel,
    none below 0 (Lambert's law; sky and ground as in a hemisphere light). Of the background: the median ratio, which
    cast shadows do not move. Where the object hardly shows, its light is the background's, and the other way round
    nothing is changed.
    """
    depth_m = np.asarray(depth_m, dtype=np.float64)
    wanted, albedo = _linear(photo), _linear(rgb)
    far_m = FAR * float(np.median(depth_m[foreground])) if foreground.any() else np.inf
    behind = ~foreground & (depth_m < far_m)
    gain = np.array([_median_ratio(wanted[behind][:, i], albedo[behind][:, i]) for i in range(3)])
    if foreground.sum() < FEWEST:
        return Light(np.array([0.0, 0.0, 1.0]), np.outer(gain, [1.0, 0.0, 0.0]), gain, far_m)
    every = max(1, int(foreground.sum()) // PIXELS)
    sun, terms = _fit_sun(*(values[foreground][::every] for values in (wanted, albedo, normals)))
    return Light(sun, terms, gain, far_m)


def surface_normals(depth_m: ArrayLike, foreground: Mask, K: ArrayLike, w2c: ArrayLike) -> Array:
    """(H, W, 3) unit normals of what is seen, towards the camera, in world axes; 0 where depth does not tell.

    Differences of the surface's points to the nearer neighbour of either side in x and y, never across the
    foreground's outline. K: (3, 3) in pixels; w2c: (4, 4), OpenCV axes.
    """
    depth_m = np.asarray(depth_m, dtype=np.float64)
    height, width = depth_m.shape
    with np.errstate(invalid="ignore", over="ignore"):
        points = unproject(pixel_centres(width, height), depth_m, K, w2c)
        across, down = (_step(points, foreground, axis) for axis in (1, 0))
        normals = np.cross(across, down)
        lengths = np.linalg.norm(normals, axis=-1, keepdims=True)
        known = np.isfinite(lengths) & (lengths > 0)
        normals = np.where(known, normals / np.where(known, lengths, 1), 0)
        eye = np.linalg.inv(np.asarray(w2c, dtype=np.float64))[:3, 3]
        away = np.where(known[..., 0], ((eye - points) * normals).sum(-1), 0) < 0
    return np.where(away[..., None], -normals, normals)


def _step(points: Array, foreground: Mask, axis: int) -> Array:
    """(H, W, 3) to the next point along an axis, or from the one before where that is nearer or the only one of the
    same side; NaN where there is neither."""
    ahead = np.diff(points, axis=axis)
    same = np.diff(foreground.astype(np.int8), axis=axis) == 0
    ahead = np.where(same[..., None], ahead, np.nan)
    gap = np.full_like(points[:, :1] if axis else points[:1], np.nan)
    after, before = np.concatenate([ahead, gap], axis=axis), np.concatenate([gap, ahead], axis=axis)
    lengths = [np.nan_to_num(np.linalg.norm(step, axis=-1), nan=np.inf) for step in (after, before)]
    return np.where((lengths[0] <= lengths[1])[..., None], after, before)


def _median_ratio(wanted: Array, albedo: Array) -> float:
    """Of one channel of N pixels (N,); 1 where too few of them are bright enough to tell."""
    bright = albedo > DARKEST
    return float(np.median(wanted[bright] / albedo[bright])) if bright.sum() >= FEWEST else 1.0


def _fit_sun(wanted: Array, albedo: Array, normals: Array) -> tuple[Array, Array]:
    """The sun (3,) and the terms (3, 3) of light on N pixels: all (N, 3)."""
    best = (np.inf, np.zeros(3), np.zeros((3, 3)))
    for sun in _sky_directions():
        basis = _basis(normals, sun)
        terms, error = np.zeros((3, 3)), 0.0
        for channel in range(3):
            lit = basis * albedo[:, channel : channel + 1]
            square = lit.T @ lit
            factor = np.linalg.cholesky(square + (STEADIER * np.trace(square) + 1e-12) * np.eye(3))
            terms[channel], _ = nnls(factor.T, np.linalg.solve(factor, lit.T @ wanted[:, channel]))
            error += float(((lit @ terms[channel] - wanted[:, channel]) ** 2).sum())
        if error < best[0]:
            best = (error, sun, terms)
    return best[1], best[2]


def _basis(normals: Array, sun: Array) -> Array:
    """(N, 3): what each term of `Light` brings to surfaces of normals (N, 3)."""
    facing = (normals @ sun).clip(min=0)
    return np.stack([np.ones(len(normals)), (1 + normals[:, 2]) / 2, facing], axis=-1)


def _sky_directions() -> Array:
    """(DIRECTIONS, 3) unit, evenly over the upper half of the sphere, by the golden angle."""
    number = np.arange(DIRECTIONS) + 0.5
    height, angle = 1 - number / DIRECTIONS, np.pi * (1 + 5**0.5) * number
    radius = np.sqrt(1 - height**2)
    return np.stack([np.cos(angle) * radius, np.sin(angle) * radius, height], axis=-1)


def _linear(picture: Rgb) -> NDArray[np.float64]:
    """uint8 display values to linear light in [0, 1]."""
    return (picture.astype(np.float64) / 255) ** GAMMA
