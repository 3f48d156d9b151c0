"""The solids of the toy world as triangles with texture coordinates, and an atlas that holds their textures.

A chart is a piece of a surface with coordinates (u, v) in [0, 1]^2: triangles to draw, and the point of the
surface at any (u, v), at which a texture is evaluated. Texel i of n lies at u = i / (n - 1), so that
interpolation never leaves the chart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from i2v3d.errors import ShapeError
from i2v3d.toy.world.solids import BOX, ELLIPSOID, FRUSTUM

Array = NDArray[np.float64]
Faces = NDArray[np.int64]
AROUND = 72  # edges of a round outline: its radius is short by at most a thousandth
ALONG = 36  # rows from pole to pole of an ellipsoid
TAPER_ROWS = 8  # rows of a frustum's side: texture is interpolated linearly on each


@dataclass(frozen=True)
class Chart:
    """uv: (n, 2) coordinates of the vertices. faces: (m, 3). point: (..., 2) -> (..., 3) on the surface."""

    uv: Array
    faces: Faces
    point: Callable[[Array], Array]


@dataclass(frozen=True)
class Slot:
    """Where a chart's texels lie in an atlas: left, top, width and height in texels."""

    left: int
    top: int
    width: int
    height: int

    def uv(self, chart_uv: Array, atlas_width: int, atlas_height: int) -> Array:
        """Coordinates (n, 2) in a chart as coordinates of the whole atlas, left top at (0, 0)."""
        first = np.array([self.left, self.top]) + 0.5
        steps = np.array([self.width, self.height]) - 1
        return (first + chart_uv * steps) / [atlas_width, atlas_height]

    def texels(self) -> Array:
        """(height, width, 2): the chart coordinates of every texel."""
        u, v = np.meshgrid(np.linspace(0, 1, self.width), np.linspace(0, 1, self.height))
        return np.stack([u, v], axis=-1)


def grid_chart(columns: int, rows: int, point: Callable[[Array], Array]) -> Chart:
    """A chart drawn as a regular grid of columns x rows cells, two triangles each."""
    u, v = np.meshgrid(np.linspace(0, 1, columns + 1), np.linspace(0, 1, rows + 1))
    corner = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).ravel()
    right, below = corner + 1, corner + columns + 1
    faces = np.stack([corner, below, below + 1, corner, below + 1, right], axis=-1).reshape(-1, 3)
    return Chart(np.stack([u, v], axis=-1).reshape(-1, 2), faces.astype(np.int64), point)


def solid_charts(kind: int, taper: float) -> list[Chart]:
    """Charts that cover a unit solid of `i2v3d.toy.world.solids`: ball, cube, or frustum of radius 1 + taper z.

    Raises ShapeError for another kind.
    """
    if kind == ELLIPSOID:
        return [grid_chart(AROUND, ALONG, _ball)]
    if kind == BOX:
        return [grid_chart(1, 1, _cube_side(axis, side)) for axis in range(3) for side in (-1.0, 1.0)]
    if kind == FRUSTUM:
        return [
            grid_chart(AROUND, TAPER_ROWS if taper else 1, _frustum_side(taper)),
            *(_disc(1 + taper * side, side) for side in (-1.0, 1.0)),
        ]
    raise ShapeError(f"solid kind {kind} is unknown; expected {ELLIPSOID}, {BOX} or {FRUSTUM}")


def _ball(uv: Array) -> Array:
    longitude, polar = 2 * math.pi * uv[..., 0], math.pi * uv[..., 1]
    level = np.sin(polar)
    return np.stack([level * np.cos(longitude), level * np.sin(longitude), np.cos(polar)], axis=-1)


def _cube_side(axis: int, side: float) -> Callable[[Array], Array]:
    def point(uv: Array) -> Array:
        across, up = 2 * uv[..., 0] - 1, 2 * uv[..., 1] - 1
        columns = [across, up]
        columns.insert(axis, np.full_like(across, side))
        return np.stack(columns, axis=-1)

    return point


def _frustum_side(taper: float) -> Callable[[Array], Array]:
    def point(uv: Array) -> Array:
        longitude, z = 2 * math.pi * uv[..., 0], 2 * uv[..., 1] - 1
        radius = 1 + taper * z
        return np.stack([radius * np.cos(longitude), radius * np.sin(longitude), z], axis=-1)

    return point


def _disc(radius: float, z: float) -> Chart:
    """A cap, textured as the square about it."""

    def point(uv: Array) -> Array:
        plane = radius * (2 * uv - 1)
        return np.concatenate([plane, np.full_like(plane[..., :1], z)], axis=-1)

    angle = 2 * math.pi * np.arange(AROUND) / AROUND
    rim = 0.5 + 0.5 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    following = (np.arange(AROUND) + 1) % AROUND
    faces = np.stack([np.full(AROUND, AROUND), np.arange(AROUND), following], axis=-1).astype(np.int64)
    return Chart(np.concatenate([rim, [[0.5, 0.5]]]), faces, point)


def extent_m(point: Callable[[Array], Array]) -> tuple[float, float]:
    """The longest lines of constant v and of constant u of a chart, in the units of `point`."""
    u, v = np.meshgrid(np.linspace(0, 1, 17), np.linspace(0, 1, 17))
    surface = point(np.stack([u, v], axis=-1))
    across, down = (np.linalg.norm(np.diff(surface, axis=axis), axis=-1) for axis in (1, 0))
    return float(across.sum(axis=1).max()), float(down.sum(axis=0).max())


def pack(sizes: Sequence[tuple[int, int]]) -> tuple[list[Slot], int, int]:
    """Places charts of (width, height) texels in one atlas, on shelves; returns the slots, in the given
    order, and the atlas's width and height."""
    width = max(max(w for w, _ in sizes), math.ceil(math.sqrt(sum(w * h for w, h in sizes))))
    slots: dict[int, Slot] = {}
    left = top = shelf = 0
    for number in sorted(range(len(sizes)), key=lambda n: -sizes[n][1]):
        w, h = sizes[number]
        if left + w > width:
            left, top, shelf = 0, top + shelf, 0
        slots[number] = Slot(left, top, w, h)
        left, shelf = left + w, max(shelf, h)
    return [slots[number] for number in range(len(sizes))], width, top + shelf
