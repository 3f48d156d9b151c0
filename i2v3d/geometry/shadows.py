"""Shadows of a cloud of points under distant light: shadow maps, a grid across the light that keeps the nearest point.

Points are (N, 3) and casters (M, 3), both in world axes and metres, z up; casters lie on a surface, evenly and close
enough that a cell between its edges is not missed: some 16,000 of them. Source: Williams, Casting curved shadows on
curved surfaces, SIGGRAPH 1978; softened as in Reeves et al., Rendering antialiased shadows with depth maps, 1987.
"""

from __future__ import annotations

import numpy as np

from i2v3d.geometry.cameras import Array

CELLS = 96  # of a shadow map along the diagonal of the casters' box
LIFT = 2  # cells that a surface which casts shadows is lifted off itself before it receives them
SKY_CELLS = 64
SKY = 24  # directions that the sky's light comes from
REACH = 2.0  # diagonals of the casters' box: they hide no sky that counts farther off
_AROUND = tuple((x, y) for x in (-1, 0, 1) for y in (-1, 0, 1))


def sky_directions(count: int) -> Array:
    """(count, 3) unit, evenly over the upper half of the sphere, by the golden angle."""
    number = np.arange(count) + 0.5
    height, angle = 1 - number / count, np.pi * (1 + 5**0.5) * number
    radius = np.sqrt(1 - height**2)
    return np.stack([np.cos(angle) * radius, np.sin(angle) * radius, height], axis=-1)


def across(direction: Array) -> tuple[Array, Array]:
    """Two unit vectors at right angles to a unit vector and to each other."""
    helper = np.array([1.0, 0, 0]) if abs(direction[0]) < 0.9 else np.array([0, 1.0, 0])
    first = np.cross(direction, helper)
    first /= np.linalg.norm(first)
    return first, np.cross(direction, first)


def cell_m(casters: Array) -> float:
    """Side of a shadow map's cells, 0 without casters."""
    return float(np.linalg.norm(np.ptp(casters, axis=0))) / CELLS if len(casters) else 0.0


def sunlit(points: Array, casters: Array, sun: Array) -> Array:
    """(N,): how much of the sun's light reaches points, from 0 to 1; the edge of a shadow is about three cells wide.

    sun: (3,) unit, towards it. Points that cast shadows themselves are to be lifted by LIFT cells along their normals.
    """
    return 1 - np.mean(_hidden(points, casters, sun, CELLS, _AROUND), axis=0)


def open_sky(points: Array, normals: Array, casters: Array) -> Array:
    """(N,): the part of an even sky's light that casters leave to surfaces with unit normals (N, 3), from 0 to 1.

    1 far from the casters, and where a surface does not face the sky. Source: ambient occlusion, Zhukov et al., 1998.
    """
    share = np.ones(len(points))
    if not len(casters):
        return share
    low, high = casters.min(axis=0), casters.max(axis=0)
    near = np.linalg.norm(points - (low + high) / 2, axis=-1) < REACH * np.linalg.norm(high - low)
    points, normals = points[near], normals[near]
    received, all_of_it = np.zeros(len(points)), np.full(len(points), 1e-3)
    for direction in sky_directions(SKY):
        facing = (normals @ direction).clip(min=0)
        received += facing * (1 - _hidden(points, casters, direction, SKY_CELLS, ((0, 0),))[0])
        all_of_it += facing
    share[near] = (received + 1e-3) / all_of_it
    return share


def _hidden(
    points: Array, casters: Array, light: Array, cells: int, around: tuple[tuple[int, int], ...]
) -> Array:
    """(len(around), N) bool: whether a caster lies before points, in their own cell or one that many cells off."""
    hidden = np.zeros((len(around), len(points)), dtype=bool)
    if not len(casters):
        return hidden
    frame = np.stack([*across(light), light], axis=-1)
    cast = casters @ frame
    cell = float(np.linalg.norm(np.ptp(casters, axis=0))) / cells or 1.0
    corner = cast[:, :2].min(axis=0) - 2.5 * cell  # two empty cells around
    index = np.floor((cast[:, :2] - corner) / cell).astype(int)
    size = index.max(axis=0) + 3
    nearest = np.full(size, -np.inf)
    np.maximum.at(nearest, (index[:, 0], index[:, 1]), cast[:, 2])
    with np.errstate(invalid="ignore"):
        x, y = ((points @ axis - low) / cell for axis, low in zip(frame.T[:2], corner, strict=True))
    # Most of the ground is not.
    inside = np.flatnonzero((x >= 1) & (x < size[0] - 1) & (y >= 1) & (y < size[1] - 1))
    column, row = x[inside].astype(int), y[inside].astype(int)
    behind = points[inside] @ light + cell
    for at, (right, up) in enumerate(around):
        hidden[at, inside] = nearest[column + right, row + up] > behind
    return hidden
