"""The light of a photo, found on a render of the same view that knows none, and put on renders of other views.

Pictures are (H, W, 3) uint8. Light is linear: display values to the power of GAMMA. Models: Lambert's law under one sun
and an even sky, with the shadows that the foreground casts; haze by Koschmieder's law.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from i2v3d.geometry.cameras import Array
from i2v3d.geometry.shadows import LIFT, across, cell_m, open_sky, sky_directions, sunlit
from i2v3d.geometry.surfaces import Surfaces
from i2v3d.images import Mask, Rgb

GAMMA = 2.2
DIRECTIONS = 128  # of the sun, evenly over the sky: about 13 degrees apart
LIKELY = 40  # of them, whose shadows are looked at
FINER = (0.12, 0.06, 0.03)  # radians, of the steps around the best one
PIXELS = 1500  # of the foreground, and of what is behind it, that the light is fitted on, at most
FEWEST = 16  # pixels that say something
FAR = 10.0  # times the foreground's distance: nothing nearer shines by itself, as the sky does
FULL = 0.97  # linear: what is as bright in the photo may have been brighter
LARGE = 0.15  # error in linear light; larger ones are no worse
SMALL = 0.002
STEADIER = 1e-6  # of the mean square, added to it: keeps terms apart that one surface cannot tell
ROUNDS = 5  # of a robust fit
Where = Mask | tuple[NDArray[np.intp], NDArray[np.intp]]  # pixels: a mask, or rows and columns
HAZE = (0.0, *np.geomspace(0.01, 0.3, 12))  # a metre
BEGIN = (0.0, 1.0, 1.5)  # of the haze, in distances of the foreground
WORTH = 0.98  # of the error: what haze has to save


@dataclass(frozen=True, eq=False)
class Light:
    """sun: (3,) unit, towards it. On the foreground, terms (3, 4), a channel a row: light from all sides that nothing
    hides, the sky's from all sides, the sky's from above, the sun's. Behind it, ground (3, 3): unhidden, the sky's, the
    sun's. air (3,): colour of the haze, which hides exp(-haze (distance - begin_m)). far_m: from where on surfaces
    shine by themselves."""

    sun: Array
    terms: Array
    ground: Array
    air: Array
    haze: float
    begin_m: float
    far_m: float

    def on(self, rgb: Rgb, seen: Surfaces) -> Rgb:
        """The picture, which shows albedo alone, under this light. seen: the surfaces of its view.

        The surfaces behind the foreground, which one photo shows from one side only, are lit alike whatever their
        normals; what lies beyond far_m stays as it is.
        """
        linear = _linear(rgb)
        behind = ~seen.foreground & (seen.distance_m < self.far_m)
        inside, outside = _Part.of(seen, seen.foreground), _Part.of(seen, behind)
        linear[seen.foreground] *= inside.object_basis(self.sun) @ self.terms.T
        kept = _kept(outside.distance_m, self.haze, self.begin_m)[:, None]
        lit = linear[behind] * (outside.ground_basis(self.sun) @ self.ground.T)
        linear[behind] = kept * lit + (1 - kept) * self.air
        shown: Rgb = np.rint(linear.clip(0, 1) ** (1 / GAMMA) * 255).astype(np.uint8)
        return shown


def fit_light(photo: Rgb, rgb: Rgb, seen: Surfaces) -> Light:
    """The light under which the render `rgb`, which shows albedo alone, comes nearest to the photo of the same view.

    Shading of the foreground alone says which suns above the horizon are likely, then the haze is found under the
    likeliest; of all likely ones that counts under which shading and cast shadows together explain foreground and
    background best. Haze and sun are then each found once more, more finely. Robust throughout:
    highlights, and surfaces of which the render knows nothing, do not move it, and what is overexposed may have been
    brighter. Where the foreground hardly shows, its light is the background's; without background nothing is changed.
    """
    wanted, albedo = _linear(photo), _linear(rgb)
    inside = seen.foreground & np.isfinite(seen.distance_m)
    off_m = float(np.median(seen.distance_m[inside])) if inside.any() else np.inf
    behind = ~seen.foreground & (seen.distance_m < FAR * off_m)
    near, rear = (_Observed.of(wanted, albedo, seen, where) for where in (inside, behind))
    begins = [begin * off_m for begin in BEGIN] if np.isfinite(off_m) else [0.0]
    nothing = _Observed.of(wanted, albedo, seen, np.zeros_like(behind))
    alone = sorted((_under(sun, _unlit(), near, nothing) for sun in sky_directions(DIRECTIONS)), key=_error)
    light = _with_haze(alone[0][1], rear, begins)
    light = min((_under(other.sun, light, near, rear) for _, other in alone[:LIKELY]), key=_error)[1]
    light = _with_haze(light, rear, begins)
    for angle in FINER:
        finer = [_under(sun, light, near, rear) for sun in [light.sun, *_around(light.sun, angle)]]
        light = min(finer, key=_error)[1]
    light = _under(light.sun, _with_haze(light, rear, begins), near, rear)[1]
    return replace(light, far_m=_far_m(light, wanted, albedo, seen, FAR * off_m))


@dataclass(frozen=True, eq=False)
class _Part:
    """N pixels of a view: normals (N, 3), distance_m (N,), sky (N,) that is open, points (N, 3) to receive shadows."""

    points: Array
    normals: Array
    distance_m: Array
    sky: Array
    casters: Array

    @classmethod
    def of(cls, seen: Surfaces, where: Where) -> _Part:
        points, normals, foreground = seen.points[where], seen.normals[where], seen.foreground[where]
        points = points + (LIFT * cell_m(seen.casters) * foreground)[:, None] * normals
        return cls(
            points, normals, seen.distance_m[where], open_sky(points, normals, seen.casters), seen.casters
        )

    def object_basis(self, sun: Array) -> Array:
        """(N, 4): what each of a light's terms brings."""
        facing = (self.normals @ sun).clip(min=0) * sunlit(self.points, self.casters, sun)
        above = self.sky * (1 + self.normals[:, 2]) / 2
        return np.stack([np.ones(len(self.sky)), self.sky, above, facing], axis=-1)

    def ground_basis(self, sun: Array) -> Array:
        """(N, 3)."""
        return np.stack([np.ones(len(self.sky)), self.sky, sunlit(self.points, self.casters, sun)], axis=-1)


@dataclass(frozen=True, eq=False)
class _Observed:
    """The same pixels in the photo and in the render, linear (N, 3)."""

    wanted: Array
    albedo: Array
    part: _Part

    @classmethod
    def of(cls, wanted: Array, albedo: Array, seen: Surfaces, where: Mask) -> _Observed:
        y, x = np.nonzero(where)
        every = max(1, len(y) // PIXELS)
        some = (y[::every], x[::every])
        return cls(wanted[some], albedo[some], _Part.of(seen, some))

    @property
    def tells(self) -> bool:
        return len(self.wanted) >= FEWEST

    def fit(self, basis: Array, extra: Array | None) -> tuple[Array, float]:
        """Coefficients (3, B [+ 1]) of albedo times basis (N, B), and of extra (N,), a channel a row; the error."""
        rows, error = [], 0.0
        for channel in range(3):
            columns = basis * self.albedo[:, channel : channel + 1]
            columns = columns if extra is None else np.concatenate([columns, extra[:, None]], axis=1)
            row, off = _robust(columns, self.wanted[:, channel])
            rows.append(row)
            error += off
        return np.stack(rows), error


def _unlit() -> Light:
    terms = np.tile([1.0, 0, 0, 0], (3, 1))
    return Light(np.array([0.0, 0, 1]), terms, terms[:, :3], np.zeros(3), 0.0, 0.0, np.inf)


def _under(sun: Array, light: Light, near: _Observed, rear: _Observed) -> tuple[float, Light]:
    """The best light of a sun with the haze of another light, and its error."""
    found, error = replace(light, sun=sun), 0.0
    if rear.tells:
        kept = _kept(rear.part.distance_m, light.haze, light.begin_m)
        basis = kept[:, None] * rear.part.ground_basis(sun)
        rows, error = rear.fit(basis, 1 - kept if light.haze else None)
        found = replace(found, ground=rows[:, :3], air=rows[:, 3] if light.haze else np.zeros(3))
    if not near.tells:
        alike = found.ground.sum(axis=1, keepdims=True) * [1.0, 0, 0, 0]
        return error, replace(found, terms=alike)
    terms, off = near.fit(near.part.object_basis(sun), None)
    return error + off, replace(found, terms=terms)


def _with_haze(light: Light, rear: _Observed, begins: Iterable[float]) -> Light:
    """A light with the haze that explains the background best: none, unless it saves more than WORTH."""
    if not rear.tells:
        return light
    best = np.inf
    basis = rear.part.ground_basis(light.sun)
    for begin_m in begins:
        for haze in HAZE:
            kept = _kept(rear.part.distance_m, haze, begin_m)
            error = rear.fit(kept[:, None] * basis, 1 - kept if haze else None)[1]
            if error < WORTH * best:
                best, light = error, replace(light, haze=haze, begin_m=begin_m)
    return light


def _far_m(light: Light, wanted: Array, albedo: Array, seen: Surfaces, least_m: float) -> float:
    """From where on, not below least_m, the photo is the render as it is rather than lit."""
    where = ~seen.foreground & (seen.distance_m >= least_m) & np.isfinite(seen.distance_m)
    part = _Part.of(seen, where)
    if not len(part.sky):
        return np.inf
    kept = _kept(part.distance_m, light.haze, light.begin_m)[:, None]
    lit = kept * albedo[where] * (part.ground_basis(light.sun) @ light.ground.T) + (1 - kept) * light.air
    off = [
        np.abs(picture - wanted[where]).clip(max=LARGE).sum(-1) for picture in (lit.clip(0, 1), albedo[where])
    ]
    order = np.argsort(part.distance_m, kind="stable")
    saved = np.concatenate(
        [[0.0], np.cumsum((off[0] - off[1])[order])]
    )  # by what is nearer being as it is, not lit
    cut = int(np.argmin(saved))
    return float(part.distance_m[order][cut]) if cut < len(order) else np.inf


def _robust(columns: Array, wanted: Array) -> tuple[Array, float]:
    """Coefficients of columns (N, B), none below 0, by iteratively reweighted least squares (Geman and McClure's
    weights), and the mean of their errors up to LARGE. What is FULL may as well be brighter than wanted."""
    weights, target = np.ones(len(wanted)), wanted
    for _ in range(ROUNDS):
        weighted = weights[:, None] * columns
        square = weighted.T @ columns
        factor = np.linalg.cholesky(square + (STEADIER * np.trace(square) + 1e-12) * np.eye(len(square)))
        found, _ = nnls(factor.T, np.linalg.solve(factor, weighted.T @ target))
        made = columns @ found
        target = np.where(wanted >= FULL, made.clip(min=wanted), wanted)
        off = np.abs(made - target)
        scale = 1.4826 * np.median(off) + SMALL
        weights = 1 / np.maximum(off / scale, 1) ** 2
    return found, float(off.clip(max=LARGE).mean())


def _kept(distance_m: Array, haze: float, begin_m: float) -> Array:
    """(N,): the part of a surface's light that haze lets through. Source: Koschmieder's law."""
    return np.exp(-haze * (distance_m - begin_m).clip(min=0))


def _around(sun: Array, angle: float) -> list[Array]:
    """Six directions at an angle in radians from the sun, those below the horizon left out."""
    first, second = across(sun)
    turns = np.arange(6) * np.pi / 3
    near = sun + angle * (np.cos(turns)[:, None] * first + np.sin(turns)[:, None] * second)
    return [d for d in near / np.linalg.norm(near, axis=1, keepdims=True) if d[2] > 0]


def _error(candidate: tuple[float, Light]) -> float:
    return candidate[0]


def _linear(picture: Rgb) -> NDArray[np.float64]:
    """uint8 display values to linear light in [0, 1]."""
    return (picture.astype(np.float64) / 255) ** GAMMA
