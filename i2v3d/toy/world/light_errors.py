"""How far light that was estimated from one photo is off: one set of errors a scene, the same in all its frames.

The numbers come from a scene's own cloud shift by a hash of its bits, so that no generator is drawn from and every
scene of every seed stays what it was. B images.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

_TILT_RAD = 0.2  # deviation of the sun's direction, along each of two axes
_LIGHT = 0.12  # deviation of the log of each light, a channel
_GROUND = 0.06  # the same of the ground's gain
_NUMBERS = 2 + 4 * 3
_WORD = 0xFFFFFFFF
_STEP, _MIX = 0x9E3779B9, 0x045D9F3B


class LightErrors(NamedTuple):
    """tilt (B, 2) of the sun in radians, about two axes across it; factors (B, 3) of the sky's light, of what the
    ground throws back, of the sun's, and of all that lies on the ground."""

    tilt: torch.Tensor
    ambient: torch.Tensor
    bounce: torch.Tensor
    sun: torch.Tensor
    ground: torch.Tensor


def light_errors(seed: torch.Tensor) -> LightErrors:
    """The errors of scenes with these numbers, (B,) float32."""
    normal = _normals(seed, _NUMBERS)
    tilt, *lights = normal.split([2, 3, 3, 3, 3], dim=1)
    spread = (_LIGHT, _LIGHT, _LIGHT, _GROUND)
    return LightErrors(_TILT_RAD * tilt, *(torch.exp(s * n) for s, n in zip(spread, lights, strict=True)))


def _normals(seed: torch.Tensor, count: int) -> torch.Tensor:
    """(B, count) numbers of a normal distribution, by hashing and Box and Muller's transform."""
    bits = seed.contiguous().view(torch.int32).long()[:, None] & _WORD
    word = (bits + _STEP * torch.arange(1, 2 * count + 1, device=seed.device)) & _WORD
    for _ in range(3):
        word = ((word ^ (word >> 16)) * _MIX) & _WORD
    uniform = ((word >> 8) + 0.5) / 2**24
    radius = torch.sqrt(-2 * torch.log(uniform[:, :count]))
    return radius * torch.cos(2 * math.pi * uniform[:, count:])
