"""How the predictions of a forward and a time-reversed pass become one.

Both passes denoise the same latents: the reversed one sees them flipped in time and is conditioned on the
last keyframe; its prediction arrives here flipped back. A rule says at which steps it needs the reversed
pass at all, so that the sampler does not compute what nobody reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from i2v3d.diffusion.masks import within
from i2v3d.errors import ShapeError


class Fusion(Protocol):
    """A rule for one segment of F frames."""

    def needs_reversed(self, step: int, steps: int) -> bool:
        """Whether 0-based `step` of `steps` reads the reversed pass."""

    def __call__(self, forward: Tensor, backward: Tensor) -> Tensor:
        """One prediction (F, C, h, w) of two in the same time order; only at steps that need both."""


@dataclass(frozen=True)
class LinearFusion:
    """(1 - w_j) forward + w_j reversed with w_j = j / (F - 1), for the first `strength` of the steps.

    Afterwards the forward pass alone. Source: I2V3D, bidirectional guidance (4d of the method).
    """

    strength: float

    def needs_reversed(self, step: int, steps: int) -> bool:
        return within(step, steps, self.strength)

    def __call__(self, forward: Tensor, backward: Tensor) -> Tensor:
        return blend_frames(forward, backward, linear_weights(len(forward), forward.device))


@dataclass(frozen=True)
class ForwardOnly:
    """The forward pass alone: the ablation without bidirectional guidance."""

    def needs_reversed(self, step: int, steps: int) -> bool:
        return False

    def __call__(self, forward: Tensor, backward: Tensor) -> Tensor:
        return forward


def fusion_rule(direction: Literal["both", "forward"], strength: float) -> Fusion:
    """The rule that the configuration names."""
    return LinearFusion(strength) if direction == "both" else ForwardOnly()


def linear_weights(frames: int, device: torch.device) -> Tensor:
    """Weight of the reversed pass at each frame, (F,) float32: 0 at the first keyframe, 1 at the last."""
    return torch.linspace(0, 1, frames, device=device)


def blend_frames(forward: Tensor, backward: Tensor, weights: Tensor) -> Tensor:
    """(1 - w) forward + w backward, both (F, ...) in the same time order; weights w: (F,) in [0, 1].

    Raises ShapeError if shapes or frame counts differ.
    """
    if forward.shape != backward.shape or weights.shape != forward.shape[:1]:
        raise ShapeError(
            f"predictions to blend are {tuple(forward.shape)} and {tuple(backward.shape)} with "
            f"{tuple(weights.shape)} weights; expected two of one shape and a weight for each frame"
        )
    return torch.lerp(forward, backward, weights.reshape(-1, *[1] * (forward.ndim - 1)))
