"""Rays against solids in closed form.

In its local frame every solid is {p : q(p) <= 0} cut by slabs, with the quadric
q = x^2 + y^2 + s z^2 - 2 k z - 1: the unit ball (s = 1, k = 0), a frustum of radius 1 + k z (s = -k^2) cut by
|z| <= 1, or no quadric at all (a box: three slabs). A ray is inside on one interval.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from i2v3d.toy.world.sampling import Scenes
from i2v3d.toy.world.solids import BOX, ELLIPSOID

_FAR = 1e9


class Solids(NamedTuple):
    """Primitives of B images in the world, P each.

    to_local, to_world (B, P, 3, 4): affine maps. taper (B, P). present, is_box, is_ball (B, P) bool.
    slot (B, P) long. rest (B, P, 3, 4): local to the object's rest frame, where patterns live.
    """

    to_local: torch.Tensor
    to_world: torch.Tensor
    taper: torch.Tensor
    present: torch.Tensor
    is_box: torch.Tensor
    is_ball: torch.Tensor
    slot: torch.Tensor
    rest: torch.Tensor

    def without_absent(self) -> Solids:
        """Only the primitives that some image has: rays meet the same, sooner, but their number P depends on the
        scene, which compiled functions do not like."""
        return Solids(*(tensor[:, self.present.any(dim=0)] for tensor in self))


def inverse3(matrix: torch.Tensor) -> torch.Tensor:
    """Inverse of (..., 3, 3) matrices by cross products (a batched solver is slow for millions of them)."""
    a, b, c = matrix.unbind(-1)
    bc, ca, ab = torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)
    return torch.stack([bc, ca, ab], dim=-2) / (a * bc).sum(-1)[..., None, None]


def axis_rotation(axis: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Rotation matrices (..., 3, 3) about unit axes (..., 3) by angles (...). Source: Rodrigues' formula."""
    x, y, z = axis.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    outer = axis[..., :, None] * axis[..., None, :]
    c, s = torch.cos(angle)[..., None, None], torch.sin(angle)[..., None, None]
    return c * torch.eye(3, device=axis.device) + s * cross + (1 - c) * outer


def _compose(matrix: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Matrix product by elementwise arithmetic: exact float32 whatever the matrix-unit settings are."""
    return (matrix[..., :, :, None] * other[..., None, :, :]).sum(-2)


def solids_in_world(flat: Scenes) -> Solids:
    """The primitives of scenes of one frame each, posed by place, heading and joints."""
    bank = flat.objects
    turns = axis_rotation(bank.axis, flat.bend[:, 0])
    shifts = bank.pivot - (turns * bank.pivot[..., None, :]).sum(-1)
    rigid = torch.eye(3, device=turns.device).expand(turns.shape[0], 1, 3, 3)
    batch = torch.arange(turns.shape[0], device=turns.device)[:, None]
    turn = torch.cat([rigid, turns], dim=1)[batch, bank.joint]
    shift = torch.cat([torch.zeros_like(shifts[:, :1]), shifts], dim=1)[batch, bank.joint]
    up = torch.zeros_like(flat.place[:, 0])
    up[:, 2] = 1.0
    heading = axis_rotation(up, flat.heading[:, 0])[:, None]
    linear = _compose(heading, _compose(turn, bank.frame))
    posed = (turn * bank.centre[..., None, :]).sum(-1) + shift
    origin = (heading * posed[..., None, :]).sum(-1) + flat.place
    inverse = inverse3(linear)
    return Solids(
        to_local=torch.cat([inverse, -(inverse * origin[..., None, :]).sum(-1, keepdim=True)], dim=-1),
        to_world=torch.cat([linear, origin[..., None]], dim=-1),
        taper=bank.taper,
        present=bank.kind >= 0,
        is_box=bank.kind == BOX,
        is_ball=bank.kind == ELLIPSOID,
        slot=bank.slot,
        rest=torch.cat([bank.frame, bank.centre[..., None]], dim=-1),
    )


def _slab(origin: torch.Tensor, direction: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Interval of a ray inside |coordinate| <= 1."""
    safe = torch.where(direction.abs() < 1e-9, 1e-9, direction)
    one, two = (-1 - origin) / safe, (1 - origin) / safe
    return torch.minimum(one, two), torch.maximum(one, two)


def _intervals(
    origin: torch.Tensor, direction: torch.Tensor, solids: Solids
) -> tuple[torch.Tensor, torch.Tensor]:
    """Entry and exit distance of rays (B, R or 1, 3) and every solid, (B, R, P); entry >= exit: no hit."""
    m = solids.to_local[:, None]

    def local(vector: torch.Tensor, row: int, translation: float) -> torch.Tensor:
        x, y, z = (vector[..., None, i] for i in range(3))
        moved = m[..., row, 0] * x + m[..., row, 1] * y + m[..., row, 2] * z
        return moved + translation * m[..., row, 3]

    ox, oy, oz = (local(origin, row, 1.0) for row in range(3))
    dx, dy, dz = (local(direction, row, 0.0) for row in range(3))
    k, ball, box = solids.taper[:, None], solids.is_ball[:, None], solids.is_box[:, None]
    s = torch.where(ball, 1.0, -k * k)
    a = dx * dx + dy * dy + s * dz * dz
    a = torch.where(a.abs() < 1e-9, 1e-9, a)
    h = ox * dx + oy * dy + s * oz * dz - k * dz
    c = ox * ox + oy * oy + s * oz * oz - 2 * k * oz - 1
    disc = h * h - a * c
    root = torch.sqrt(disc.clamp(min=0.0))
    one, two = (-h - root) / a, (-h + root) / a
    low, high = torch.minimum(one, two), torch.maximum(one, two)
    # a < 0: the ray is steeper than the cone, inside beyond one root, on the nappe with 1 + k z > 0.
    ahead = k * dz > 0
    enter = torch.where(a > 0, low, torch.where(ahead, high, -_FAR))
    leave = torch.where(a > 0, high, torch.where(ahead, _FAR, low))
    missed = (disc < 0) & (a > 0)
    enter, leave = torch.where(missed, _FAR, enter), torch.where(missed, -_FAR, leave)
    enter, leave = torch.where(box, -_FAR, enter), torch.where(box, _FAR, leave)
    z_in, z_out = _slab(oz, dz)
    enter, leave = (
        torch.where(ball, enter, torch.maximum(enter, z_in)),
        torch.where(ball, leave, torch.minimum(leave, z_out)),
    )
    x_in, x_out = _slab(ox, dx)
    y_in, y_out = _slab(oy, dy)
    enter = torch.where(box, torch.maximum(enter, torch.maximum(x_in, y_in)), enter)
    leave = torch.where(box, torch.minimum(leave, torch.minimum(x_out, y_out)), leave)
    return torch.where(solids.present[:, None], enter, _FAR), leave


def first_hit(
    origin: torch.Tensor, direction: torch.Tensor, solids: Solids
) -> tuple[torch.Tensor, torch.Tensor]:
    """Distance (in units of |direction|, inf if none) and index of the first solid in front, each (B, R).

    origin (B, R or 1, 3) must lie outside all solids.
    """
    enter, leave = _intervals(origin, direction, solids)
    hit = (enter < leave) & (enter > 1e-3)
    distance = torch.where(hit, enter, torch.inf)
    return distance.amin(dim=-1), distance.argmin(dim=-1)


def occluded(origin: torch.Tensor, direction: torch.Tensor, solids: Solids, limit: float) -> torch.Tensor:
    """(B, R) float: 1 where something lies between `origin` and `limit` ahead of it."""
    enter, leave = _intervals(origin, direction, solids)
    hit = (enter < leave) & (leave > 1e-4) & (enter < limit)
    return hit.float().amax(dim=-1)


def surface_normal(
    local: torch.Tensor,
    to_local: torch.Tensor,
    taper: torch.Tensor,
    is_box: torch.Tensor,
    is_ball: torch.Tensor,
) -> torch.Tensor:
    """Outward unit normals (..., 3) in the world at points `local` (..., 3) on solids.

    to_local (..., 3, 3 or 4): the solid's map; taper, is_box, is_ball (...).
    """
    x, y, z = local.unbind(-1)
    largest = local.abs().amax(dim=-1, keepdim=True)
    cube = torch.where(local.abs() >= largest - 1e-4, torch.sign(local), 0.0)
    radius = 1 + taper * z
    cap = (z.abs() > 0.999) & (x * x + y * y < 0.998 * radius * radius)
    side = torch.stack([x, y, -taper * radius], dim=-1)
    flat = torch.stack([torch.zeros_like(x), torch.zeros_like(x), torch.sign(z)], dim=-1)
    frustum = torch.where(cap[..., None], flat, side)
    normal = torch.where(is_box[..., None], cube, torch.where(is_ball[..., None], local, frustum))
    world = (to_local[..., :3] * normal[..., None]).sum(-2)
    return torch.nn.functional.normalize(world, dim=-1)
