"""Solids of compound objects: ellipsoids, boxes and frustums in an object frame (x forward, y left, z up, metres).

Every primitive is an affine image of a unit solid, so a ray meets it in closed form.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]
Scalar = float | Array

ELLIPSOID, BOX, FRUSTUM = 0, 1, 2
BODY, ACCENT, DARK, LIGHT = 0, 1, 2, 3  # colour slots; the pattern is on the body
MAX_PRIMITIVES, JOINTS = 22, 2


class Bank(NamedTuple):
    """Objects in their rest pose, leading dimensions any. P = MAX_PRIMITIVES, J = JOINTS.

    centre (..., P, 3) and frame (..., P, 3, 3): rest = centre + frame @ local, where local is the unit solid.
    taper (..., P): a frustum's radius is 1 + taper * z on z in [-1, 1]; 0 for the other kinds.
    kind, slot, joint (..., P) long: ELLIPSOID/BOX/FRUSTUM, colour slot, joint + 1 (0: rigid); kind -1:
    absent. pivot, axis (..., J, 3): joints turn about `axis` through `pivot`; reach (..., J): their largest
    angle, rad.
    """

    centre: torch.Tensor
    frame: torch.Tensor
    taper: torch.Tensor
    kind: torch.Tensor
    slot: torch.Tensor
    joint: torch.Tensor
    pivot: torch.Tensor
    axis: torch.Tensor
    reach: torch.Tensor

    def to(self, device: torch.device | str) -> Bank:
        """The same objects on another device."""
        return Bank(*(tensor.to(device) for tensor in self))

    def select(self, *index: torch.Tensor) -> Bank:
        """Objects at `index` of the leading dimensions."""
        return Bank(*(tensor[index] for tensor in self))


def turn(axis: str, degrees: Scalar) -> Array:
    """Rotation matrices (..., 3, 3) about one coordinate axis."""
    angle = np.radians(np.asarray(degrees, dtype=np.float64))
    c, s, zero, one = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    rows = {
        "x": [[one, zero, zero], [zero, c, -s], [zero, s, c]],
        "y": [[c, zero, s], [zero, one, zero], [-s, zero, c]],
        "z": [[c, -s, zero], [s, c, zero], [zero, zero, one]],
    }[axis]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


_IDENTITY = np.eye(3)


class Builder:
    """Collects the primitives and joints of one shape over `variants` variants."""

    def __init__(self, variants: int) -> None:
        self.variants = variants
        self.primitives: list[tuple[Array, Array, Array, int, int, int]] = []
        self.joints: list[tuple[Array, Array, float]] = []

    def _vector(self, values: tuple[Scalar, Scalar, Scalar]) -> Array:
        return np.stack([np.broadcast_to(np.asarray(v, float), self.variants) for v in values], axis=-1)

    def _add(
        self,
        kind: int,
        centre: tuple[Scalar, Scalar, Scalar],
        radii: tuple[Scalar, Scalar, Scalar],
        slot: int,
        rotation: Array,
        joint: int,
        taper: Scalar = 0.0,
    ) -> None:
        frame = np.broadcast_to(rotation, (self.variants, 3, 3)) * self._vector(radii)[:, None, :]
        tapers = np.broadcast_to(np.asarray(taper, float), self.variants)
        self.primitives.append((self._vector(centre), frame, tapers, kind, slot, joint))

    def ellipsoid(
        self,
        centre: tuple[Scalar, Scalar, Scalar],
        radii: Scalar | tuple[Scalar, Scalar, Scalar],
        slot: int,
        rotation: Array = _IDENTITY,
        joint: int = 0,
    ) -> None:
        """An ellipsoid with the given half axes (one number: a sphere)."""
        axes = radii if isinstance(radii, tuple) else (radii, radii, radii)
        self._add(ELLIPSOID, centre, axes, slot, rotation, joint)

    def box(
        self,
        centre: tuple[Scalar, Scalar, Scalar],
        half: tuple[Scalar, Scalar, Scalar],
        slot: int,
        rotation: Array = _IDENTITY,
        joint: int = 0,
    ) -> None:
        """A box with the given half edges."""
        self._add(BOX, centre, half, slot, rotation, joint)

    def frustum(
        self,
        centre: tuple[Scalar, Scalar, Scalar],
        half_height: Scalar,
        low: Scalar,
        high: Scalar,
        slot: int,
        rotation: Array = _IDENTITY,
        joint: int = 0,
    ) -> None:
        """A cone cut off across its local z axis, radius `low` at the bottom and `high` at the top."""
        mean = (np.asarray(low, float) + high) / 2
        taper = (np.asarray(high, float) - low) / (2 * mean)
        self._add(FRUSTUM, centre, (mean, mean, half_height), slot, rotation, joint, taper)

    def hinge(
        self, pivot: tuple[Scalar, Scalar, Scalar], axis: tuple[float, float, float], reach: float
    ) -> int:
        """Adds a joint that turns by at most `reach` degrees; returns its number for primitives."""
        self.joints.append((self._vector(pivot), self._vector(axis), float(np.radians(reach))))
        return len(self.joints)
