"""How far light that was estimated from one photo is off: one set of errors a scene, the same in all its frames.

The numbers come from a scene's own cloud shift by a hash of its bits, so that no generator is drawn from and every
scene of every seed stays what it was. B images.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

_TILT_RAD = 0.07  # deviation of the sun's direction, along each of two axes
_LIGHT = 0.1  # deviation of the log of each light, a channel
_GROUND = 0.05  # the same of the ground's gain
_HIDING = 0.3  # of the log of the power of what the sky is hidden by
_HAZE = 0.15  # of the log of the haze's density
_AIR = 0.06  # of the log of its colour, a channel
_FLAT = 1 / 6  # fraction of the scenes whose light no estimate knows
_SIZES = (2, 3, 3, 3, 3, 1, 1, 3)
_WORD = 0xFFFFFFFF
_STEP, _MIX = 0x9E3779B9, 0x045D9F3B


class LightErrors(NamedTuple):
    """Of B scenes.

    tilt (B, 2): of the sun in radians, about two axes across it. Factors (B, 3), a channel: ambient, of the sky's
    light; bounce, of what the ground throws back; sun, of the sun's light; ground, of all that lies on the ground;
    air, of the haze's colour. hiding (B, 1): power to which the part of the sky that is open is raised. haze (B, 1):
    factor of the haze's density. flat (B, 1) bool: scenes whose light is not estimated at all; their coarse renders
    know none, so that networks that learn from lit ones know flat ones, too.
    """

    tilt: torch.Tensor
    ambient: torch.Tensor
    bounce: torch.Tensor
    sun: torch.Tensor
    ground: torch.Tensor
    hiding: torch.Tensor
    haze: torch.Tensor
    air: torch.Tensor
    flat: torch.Tensor


def light_errors(seed: torch.Tensor) -> LightErrors:
    """The errors of scenes with these numbers, (B,) float32."""
    count = sum(_SIZES)
    uniform = _uniforms(seed, 2 * count + 1)
    tilt, *logs = _normals(uniform[:, : 2 * count]).split(_SIZES, dim=1)
    spread = (_LIGHT, _LIGHT, _LIGHT, _GROUND, _HIDING, _HAZE, _AIR)
    factors = [torch.exp(s * log) for s, log in zip(spread, logs, strict=True)]
    return LightErrors(*[_TILT_RAD * tilt, *factors, uniform[:, 2 * count :] < _FLAT])


def _uniforms(seed: torch.Tensor, count: int) -> torch.Tensor:
    """(B, count) numbers between 0 and 1, by hashing."""
    bits = seed.contiguous().view(torch.int32).long()[:, None] & _WORD
    word = (bits + _STEP * torch.arange(1, count + 1, device=seed.device)) & _WORD
    for _ in range(3):
        word = ((word ^ (word >> 16)) * _MIX) & _WORD
    return ((word >> 8) + 0.5) / 2**24


def _normals(uniform: torch.Tensor) -> torch.Tensor:
    """(B, n) numbers of a normal distribution from (B, 2 n) of a uniform one, by Box and Muller's transform."""
    size, turn = uniform.chunk(2, dim=1)
    return torch.sqrt(-2 * torch.log(size)) * torch.cos(2 * math.pi * turn)
