"""The shapes of the toy world, from car to castle, made of solids.

`build_bank` makes many variants of every shape at once: each builder receives random proportions as arrays over
variants.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from i2v3d.toy.world.catalogue import SHAPES
from i2v3d.toy.world.solids import (
    ACCENT,
    BODY,
    DARK,
    JOINTS,
    LIGHT,
    MAX_PRIMITIVES,
    Array,
    Bank,
    Builder,
    turn,
)

Spread = Callable[[float, float], Array]


def _car(b: Builder, u: Spread) -> None:
    length = u(0.72, 0.92)
    b.box((0, 0, 0.33), (length, 0.40, 0.17), BODY)
    b.box((-0.08, 0, 0.62), (length * 0.52, 0.34, 0.15), ACCENT)
    for x in (-0.6, 0.6):
        for y in (-0.39, 0.39):
            b.frustum((x * length, y, 0.19), 0.07, 0.19, 0.19, DARK, turn("x", 90))
    for y in (-0.24, 0.24):
        b.ellipsoid((length, y, 0.37), (0.06, 0.08, 0.08), LIGHT)


def _rocket(b: Builder, u: Spread) -> None:
    half = u(0.42, 0.54)
    b.frustum((0, 0, 0.24 + half), half, 0.29, 0.26, BODY)
    b.frustum((0, 0, 0.24 + 2 * half + 0.23), 0.23, 0.26, 0.02, ACCENT)
    b.frustum((0, 0, 0.16), 0.09, 0.25, 0.15, DARK)
    for k in range(3):
        spin = turn("z", 120 * k + 20)
        x, y, _ = spin @ np.array([0.34, 0.0, 0.0])
        b.box((x, y, 0.30), (0.16, 0.035, 0.24), ACCENT, spin @ turn("y", 18))
    b.ellipsoid((0.25, 0.0, 0.36 + half * 1.2), (0.06, 0.12, 0.12), LIGHT)


def _mushroom(b: Builder, u: Spread) -> None:
    wide = u(0.58, 0.76)
    b.frustum((0, 0, 0.32), 0.34, 0.23, 0.16, LIGHT)
    b.ellipsoid((0, 0, 0.74), (wide, wide, 0.34), BODY)
    b.frustum((0, 0, 0.56), 0.05, 0.36, 0.48, ACCENT)


def _robot(b: Builder, u: Spread) -> None:
    head, lean = u(0.21, 0.28), u(4, 20)
    b.box((0, 0, 0.63), (0.21, 0.31, 0.28), BODY)
    b.box((0, 0, 1.09), (0.19, head, 0.16), ACCENT)
    for side in (-1, 1):
        arm = b.hinge((0, side * 0.38, 0.86), (0, 1, 0), 55)
        b.ellipsoid((0.18, side * 0.11, 1.12), 0.06, LIGHT)
        b.frustum((0, side * 0.15, 0.18), 0.18, 0.10, 0.10, DARK)
        b.frustum((0, side * 0.41, 0.63), 0.25, 0.08, 0.08, DARK, turn("x", side * lean), arm)
    b.frustum((0, 0, 1.34), 0.12, 0.025, 0.025, DARK)
    b.ellipsoid((0, 0, 1.48), 0.06, LIGHT)


def _duck(b: Builder, u: Spread) -> None:
    head = b.hinge((0.36, 0, 0.62), (0, 0, 1), 40)
    b.ellipsoid((0, 0, 0.38), (0.60, 0.40, 0.37), BODY)
    b.ellipsoid((0.42, 0, 0.86), u(0.25, 0.31), BODY, joint=head)
    b.frustum((0.76, 0, 0.83), 0.13, 0.12, 0.04, ACCENT, turn("y", 90), head)
    for side in (-1, 1):
        b.ellipsoid((0.57, side * 0.18, 0.95), 0.05, DARK, joint=head)
        b.ellipsoid((-0.08, side * 0.36, 0.45), (0.33, 0.09, 0.18), LIGHT)
    b.frustum((-0.57, 0, 0.55), 0.17, 0.14, 0.03, BODY, turn("y", -55))


def _house(b: Builder, u: Spread) -> None:
    half, roof = u(0.32, 0.42), u(0.34, 0.48)
    b.box((0, 0, half), (0.48, 0.58, half), BODY)
    # A rhombic bar: the half that would be the attic floor is hidden inside the walls.
    slant = np.sqrt(0.5)
    ridge = np.broadcast_to(turn("y", 45), (b.variants, 3, 3)).copy()
    ridge[:, 2, :] *= (roof / 0.55)[:, None]
    b.box((0, 0, 2 * half), (0.55 * slant, 0.66, 0.55 * slant), ACCENT, ridge)
    b.box((0.48, 0, 0.22), (0.025, 0.12, 0.22), DARK)
    for side in (-1, 1):
        b.box((0.48, side * 0.34, half * 1.15), (0.02, 0.11, 0.11), LIGHT)
    b.box((-0.12, 0.36, 2 * half + 0.36), (0.09, 0.09, 0.20), DARK)


def _tree(b: Builder, u: Spread) -> None:
    b.frustum((0, 0, 0.22), 0.24, 0.14, 0.11, DARK)
    for k, (z, radius) in enumerate([(0.60, 0.60), (0.93, 0.47), (1.24, 0.33)]):
        b.frustum((0, 0, z), 0.23, radius * u(0.92, 1.08), 0.06, ACCENT if k == 1 else BODY)
    b.ellipsoid((0, 0, 1.52), 0.08, LIGHT)


def _cup(b: Builder, u: Spread) -> None:
    radius = u(0.40, 0.50)
    b.frustum((0, 0, 0.50), 0.40, radius * 0.84, radius, BODY)
    b.frustum((0, 0, 0.90), 0.02, radius * 0.9, radius * 0.9, DARK)
    b.frustum((0, 0, 0.05), 0.05, radius * 1.45, radius * 1.6, LIGHT)
    for z, tilt in ((0.72, 75.0), (0.34, 105.0)):
        b.frustum((radius + 0.08, 0, z), 0.16, 0.06, 0.06, ACCENT, turn("y", tilt))
    b.frustum((radius + 0.23, 0, 0.53), 0.20, 0.06, 0.06, ACCENT)


def _snowman(b: Builder, u: Spread) -> None:
    b.ellipsoid((0, 0, 0.40), u(0.38, 0.46), BODY)
    b.ellipsoid((0, 0, 0.93), 0.31, BODY)
    b.ellipsoid((0, 0, 1.32), 0.21, LIGHT)
    b.frustum((0.28, 0, 1.32), 0.12, 0.055, 0.01, ACCENT, turn("y", 90))
    b.frustum((0, 0, 1.50), 0.02, 0.27, 0.27, DARK)
    b.frustum((0, 0, 1.62), 0.12, 0.16, 0.16, DARK)
    for side in (-1, 1):
        b.ellipsoid((0.17, side * 0.085, 1.39), 0.035, DARK)
        arm = b.hinge((0, side * 0.26, 1.0), (1, 0, 0), 45)
        b.frustum((0, side * 0.50, 1.08), 0.27, 0.035, 0.03, DARK, turn("x", side * -70), arm)
    b.frustum((0, 0, 1.14), 0.05, 0.23, 0.22, ACCENT)


def _chair(b: Builder, u: Spread) -> None:
    seat = u(0.46, 0.56)
    b.box((0, 0, seat), (0.42, 0.42, 0.06), BODY)
    b.box((-0.38, 0, seat + 0.47), (0.05, 0.42, 0.34), ACCENT)
    for x in (-0.34, 0.34):
        for y in (-0.34, 0.34):
            b.frustum((x, y, seat / 2), seat / 2, 0.055, 0.055, DARK)
    b.box((0.02, 0, seat + 0.09), (0.32, 0.34, 0.05), LIGHT)


def _plane(b: Builder, u: Spread) -> None:
    propeller = b.hinge((1.0, 0, 0.64), (1, 0, 0), 90)
    b.ellipsoid((0, 0, 0.64), (0.96, 0.22, 0.22), BODY)
    b.box((0.10, 0, 0.62), (0.20, u(0.80, 0.96), 0.04), ACCENT)
    b.box((-0.78, 0, 0.70), (0.11, 0.34, 0.035), ACCENT)
    b.box((-0.80, 0, 0.88), (0.12, 0.035, 0.20), ACCENT, turn("y", -15))
    b.frustum((0.97, 0, 0.64), 0.05, 0.09, 0.03, DARK, turn("y", 90))
    b.box((1.0, 0, 0.64), (0.02, 0.045, 0.28), DARK, turn("x", 30), propeller)
    b.ellipsoid((0.38, 0, 0.79), (0.23, 0.13, 0.13), LIGHT)
    b.box((0.2, 0, 0.34), (0.045, 0.28, 0.15), DARK)
    for side in (-1, 1):
        b.frustum((0.2, side * 0.29, 0.16), 0.05, 0.16, 0.16, DARK, turn("x", 90))


def _boat(b: Builder, u: Spread) -> None:
    length = u(0.84, 1.0)
    b.ellipsoid((0, 0, 0.36), (length, 0.40, 0.30), BODY)
    b.box((0, 0, 0.53), (length * 0.78, 0.32, 0.05), LIGHT)
    b.box((-0.16, 0, 0.70), (0.27, 0.21, 0.16), ACCENT)
    b.frustum((0.36, 0, 0.98), 0.48, 0.035, 0.035, DARK)
    b.box((0.14, 0, 1.06), (0.20, 0.02, 0.28), ACCENT)
    b.frustum((-0.22, 0, 0.97), 0.14, 0.09, 0.09, DARK)


def _dog(b: Builder, u: Spread) -> None:
    head, tail = b.hinge((0.42, 0, 0.70), (0, 0, 1), 40), b.hinge((-0.48, 0, 0.64), (1, 0, 0), 45)
    b.ellipsoid((0, 0, 0.56), (0.58, 0.24, 0.23), BODY)
    b.ellipsoid((0.58, 0, 0.90), u(0.23, 0.28), BODY, joint=head)
    b.ellipsoid((0.82, 0, 0.83), (0.16, 0.11, 0.10), ACCENT, joint=head)
    b.ellipsoid((0.97, 0, 0.87), 0.05, DARK, joint=head)
    for side in (-1, 1):
        b.ellipsoid((0.50, side * 0.22, 0.98), (0.10, 0.06, 0.22), ACCENT, turn("x", side * 18), head)
        b.ellipsoid((0.78, side * 0.11, 0.98), 0.04, DARK, joint=head)
        for x in (-0.34, 0.34):
            b.frustum((x, side * 0.14, 0.21), 0.21, 0.08, 0.085, BODY)
    b.frustum((-0.58, 0, 0.78), 0.22, 0.07, 0.03, ACCENT, turn("y", -40), tail)
    b.frustum((0.44, 0, 0.74), 0.05, 0.20, 0.20, LIGHT, turn("y", 40))


def _cactus(b: Builder, u: Spread) -> None:
    half = u(0.42, 0.52)
    b.frustum((0, 0, 0.16), 0.16, 0.27, 0.36, ACCENT)
    b.frustum((0, 0, 0.34), 0.02, 0.32, 0.32, DARK)
    b.frustum((0, 0, 0.36 + half), half, 0.19, 0.18, BODY)
    b.ellipsoid((0, 0, 0.36 + 2 * half), (0.18, 0.18, 0.14), BODY)
    for side, z in ((1, 0.75), (-1, 0.95)):
        arm = b.hinge((0, side * 0.16, z), (1, 0, 0), 30)
        b.frustum((0, side * 0.30, z), 0.15, 0.09, 0.09, BODY, turn("x", 90), arm)
        b.frustum((0, side * 0.44, z + 0.15), 0.18, 0.10, 0.08, BODY, joint=arm)
    b.ellipsoid((0, 0, 0.48 + 2 * half), (0.13, 0.13, 0.08), LIGHT)


def _lamp(b: Builder, u: Spread) -> None:
    shade = b.hinge((0, 0, 0.95), (0, 1, 0), 30)
    b.frustum((0, 0, 0.05), 0.05, 0.38, 0.33, DARK)
    b.frustum((0, 0, 0.52), 0.46, 0.055, 0.055, LIGHT)
    b.ellipsoid((0, 0, 0.50), (0.18, 0.18, 0.22), ACCENT)
    b.frustum((0, 0, 1.14), u(0.24, 0.30), 0.48, 0.25, BODY, joint=shade)


def _train(b: Builder, u: Spread) -> None:
    b.frustum((0.22, 0, 0.52), u(0.48, 0.56), 0.28, 0.28, BODY, turn("y", 90))
    b.box((-0.52, 0, 0.64), (0.28, 0.34, 0.36), ACCENT)
    b.box((-0.52, 0, 1.03), (0.37, 0.40, 0.05), DARK)
    b.frustum((0.50, 0, 0.90), 0.17, 0.09, 0.14, DARK)
    b.ellipsoid((0.1, 0, 0.80), 0.13, LIGHT)
    b.box((0, 0, 0.24), (0.80, 0.27, 0.06), DARK)
    for x in (-0.55, 0.0, 0.55):
        for side in (-1, 1):
            b.frustum((x, side * 0.29, 0.18), 0.05, 0.18, 0.18, LIGHT, turn("x", 90))


def _windmill(b: Builder, u: Spread) -> None:
    top = u(0.96, 1.08)
    blades = b.hinge((0.32, 0, top), (1, 0, 0), 90)
    b.frustum((0, 0, top / 2), top / 2, 0.40, 0.24, BODY)
    b.frustum((0, 0, top + 0.14), 0.15, 0.27, 0.04, ACCENT)
    b.frustum((0.26, 0, top), 0.08, 0.06, 0.06, DARK, turn("y", 90), blades)
    for k in range(4):
        spin = turn("x", 90 * k + 25)
        _, y, z = spin @ np.array([0.0, 0.0, 0.36])
        b.box((0.32, y, top + z), (0.02, 0.09, 0.27), LIGHT, spin, blades)
    b.box((0.38, 0, 0.20), (0.03, 0.11, 0.20), DARK, turn("y", -9))


def _castle(b: Builder, u: Spread) -> None:
    wall, tower = u(0.28, 0.36), u(0.40, 0.48)
    b.box((0, 0, wall), (0.46, 0.46, wall), BODY)
    for x in (-0.46, 0.46):
        for y in (-0.46, 0.46):
            b.frustum((x, y, tower), tower, 0.17, 0.16, BODY)
            b.frustum((x, y, 2 * tower + 0.15), 0.15, 0.21, 0.02, ACCENT)
    b.box((0.46, 0, 0.18), (0.03, 0.13, 0.18), DARK)
    b.box((0, 0, 2 * wall + 0.14), (0.20, 0.20, 0.18), LIGHT)
    b.frustum((0, 0, 2 * wall + 0.48), 0.18, 0.26, 0.03, ACCENT)


_BUILDERS: dict[str, Callable[[Builder, Spread], None]] = {
    "car": _car, "rocket": _rocket, "mushroom": _mushroom, "robot": _robot, "duck": _duck, "house": _house,
    "tree": _tree, "cup": _cup, "snowman": _snowman, "chair": _chair, "plane": _plane, "boat": _boat,
    "dog": _dog, "cactus": _cactus, "lamp": _lamp, "train": _train, "windmill": _windmill, "castle": _castle,
}  # fmt: skip


def _shape(name: str, variants: int, seed: int) -> list[Array]:
    rng = np.random.default_rng([seed, SHAPES.index(name)])
    builder = Builder(variants)
    _BUILDERS[name](builder, lambda low, high: rng.uniform(low, high, variants))
    parts = builder.primitives
    assert len(parts) <= MAX_PRIMITIVES and len(builder.joints) <= JOINTS, f"{name} is too large"
    scale = rng.uniform(0.92, 1.08, variants)
    centre = np.zeros((variants, MAX_PRIMITIVES, 3))
    frame = np.tile(np.eye(3), (variants, MAX_PRIMITIVES, 1, 1))
    taper = np.zeros((variants, MAX_PRIMITIVES))
    kind, slot, joint = (np.full((variants, MAX_PRIMITIVES), fill) for fill in (-1, 0, 0))
    for i, (where, axes, tapers, kinds, slots, joints) in enumerate(parts):
        centre[:, i], frame[:, i], taper[:, i] = where, axes, tapers
        kind[:, i], slot[:, i], joint[:, i] = kinds, slots, joints
    pivot, axis = np.zeros((variants, JOINTS, 3)), np.tile([0.0, 0.0, 1.0], (variants, JOINTS, 1))
    reach = np.zeros((variants, JOINTS))
    for i, (where, about, angle) in enumerate(builder.joints):
        pivot[:, i], axis[:, i], reach[:, i] = where, about, angle
    size = scale[:, None, None]
    return [centre * size, frame * size[..., None], taper, kind, slot, joint, pivot * size, axis, reach]


def build_bank(variants: int, seed: int) -> Bank:
    """`variants` variants of every shape, leading dimensions (len(SHAPES), variants), on the CPU."""
    shapes = [_shape(name, variants, seed) for name in SHAPES]
    stacked = [np.stack(columns) for columns in zip(*shapes, strict=True)]
    return Bank(
        *(torch.from_numpy(a).float() if a.dtype.kind == "f" else torch.from_numpy(a).long() for a in stacked)
    )
