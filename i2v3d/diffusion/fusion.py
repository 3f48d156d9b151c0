"""How a forward and a time-reversed pass together denoise one clip.

Both passes denoise the same latents: the reversed one sees them flipped in time and is conditioned on the
last keyframe; its predictions arrive here flipped back. A fusion takes the latents from one noise level to the
next and asks for the passes it needs, so that the sampler computes nothing that nobody reads.

Symbols: x latents (F, C, h, w) at noise level sigma, D a prediction of the clean latents, w_j the weight of the
reversed pass at frame j = 0 ... F-1, z the latents of a keyframe.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol

import torch
from torch import Tensor

from i2v3d.diffusion import edm
from i2v3d.diffusion.guidance import Estimate
from i2v3d.diffusion.time_limits import within
from i2v3d.errors import ShapeError
from i2v3d.progress import OnStep, ignore_step

Pass = Literal["forward", "reversed"]
Weights = Literal["linear", "cosine", "power"]
Noise = Callable[[int, int], Tensor]
"""(step, repetition) -> unit noise (F, C, h, w), different for every argument."""


class PredictPasses(Protocol):
    """The passes of a segment: the estimates of the clean latents by the asked passes, in the passes' order, each
    (F, C, h, w) in the order of the shot, for x at noise level sigma.

    step: 0-based, of the sampling; it says which features are injected.
    """

    def __call__(self, x: Tensor, sigma: float, step: int, passes: tuple[Pass, ...]) -> list[Estimate]: ...


@dataclass(frozen=True)
class Step:
    """0-based step `index` of `steps`, from noise level sigma to sigma_next."""

    index: int
    steps: int
    sigma: float
    sigma_next: float


class Fusion(Protocol):
    """A rule for one segment."""

    def advance(self, x: Tensor, at: Step, predict: PredictPasses) -> Tensor:
        """The latents x at `at.sigma` -> the latents at `at.sigma_next`."""


def sample(
    x: Tensor,
    fusion: Fusion,
    predict: PredictPasses,
    schedule: edm.EDMSchedule,
    on_step: OnStep = ignore_step,
) -> Tensor:
    """Latents (F, C, h, w) at the highest noise level -> clean latents, float32."""
    x = x.to(torch.float32)
    for index, (sigma, sigma_next) in enumerate(pairwise(schedule.sigmas)):
        x = fusion.advance(x, Step(index, schedule.steps, sigma, sigma_next), predict)
        on_step(index + 1, schedule.steps)
    return x


# ---------------------------------------------------------------- parts of a step
def move(x: Tensor, clean: Tensor, slope: Tensor, at: Step) -> Tensor:
    """clean + sigma_next / sigma * (x - slope): Euler's step where both are one prediction.

    CFG++ takes the slope from the unconditional prediction and the clean latents from the guided one.
    Source: Chung et al., CFG++: Manifold-constrained Classifier Free Guidance, 2024, algorithm 2.
    """
    return edm.euler_step(x, slope, at.sigma, at.sigma_next) + (clean - slope)


def renoise(x: Tensor, at: Step, noise: Tensor) -> Tensor:
    """Latents at `at.sigma_next` back at `at.sigma`: x + sqrt(sigma^2 - sigma_next^2) noise."""
    return x + math.sqrt(at.sigma**2 - at.sigma_next**2) * noise


def reversed_weights(kind: Weights, frames: int, power: float, device: torch.device) -> Tensor:
    """Weight w_j of the reversed pass, (F,) float32: 0 at the first keyframe, 1 at the last, t = j / (F - 1).

    linear: t (I2V3D, 4d of the method). cosine: (1 - cos(pi t)) / 2. power: t^p / (t^p + (1 - t)^p), which is
    linear for p = 1 and gives each half to its keyframe for large p. Each is 1 - w at the mirrored frame.
    """
    t = torch.linspace(0, 1, frames, device=device)
    if kind == "cosine":
        return (1 - torch.cos(math.pi * t)) / 2
    if kind == "power":
        return t**power / (t**power + (1 - t) ** power)
    return t


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


def with_frame(clip: Tensor, index: int, frame: Tensor) -> Tensor:
    """A copy of a clip (F, C, h, w) whose frame `index` is `frame` (C, h, w)."""
    replaced = clip.clone()
    replaced[index] = frame
    return replaced


def distilled(forward: Estimate, last: Tensor) -> Estimate:
    """The prediction of a reversed pass that moves as the forward one does and ends at `last` (C, h, w).

    Motion-prior distillation starts from the last keyframe z and adds up, backwards, the forward pass's
    differences between neighbouring frames. The sum telescopes: D_j + (z - D_{F-1}).
    Source: Jeon et al., Motion Prior Distillation in Time Reversal Sampling, 2026, section 4.
    """
    return Estimate(*(d + (last - d[-1]) for d in (forward.unconditional, forward.guided)))


# ---------------------------------------------------------------- rules
@dataclass(frozen=True)
class ForwardOnly:
    """The forward pass alone: the ablation without bidirectional guidance."""

    cfg_plus_plus: bool

    def advance(self, x: Tensor, at: Step, predict: PredictPasses) -> Tensor:
        (forward,) = predict(x, at.sigma, at.index, ("forward",))
        return move(x, forward.guided, forward.unconditional if self.cfg_plus_plus else forward.guided, at)


@dataclass(frozen=True)
class Blend:
    """Both passes predict from the same latents; their predictions are blended frame by frame.

    D = (1 - w_j) forward + w_j reversed. weights: (F,), `reversed_weights`. distill: fraction of the steps,
    the first ones, in which the reversed prediction is `distilled`. last: the last keyframe's latents (C, h, w).
    Source: I2V3D, bidirectional guidance (4d of the method), with linear weights.
    """

    weights: Tensor
    cfg_plus_plus: bool
    distill: float
    last: Tensor

    def advance(self, x: Tensor, at: Step, predict: PredictPasses) -> Tensor:
        if within(at.index, at.steps, self.distill):
            (forward,) = predict(x, at.sigma, at.index, ("forward",))
            backward = distilled(forward, self.last)
        else:
            forward, backward = predict(x, at.sigma, at.index, ("forward", "reversed"))
        clean = blend_frames(forward.guided, backward.guided, self.weights)
        slope = clean
        if self.cfg_plus_plus:
            slope = blend_frames(forward.unconditional, backward.unconditional, self.weights)
        return move(x, clean, slope, at)


@dataclass(frozen=True)
class Sequential:
    """One pass after the other: a forward step, noise back to the level before it, a reversed step.

    Latents stay those of one pass at a time, where a blend leaves what either pass knows. data_consistency:
    each pass's clean prediction gets the keyframe of its far end; the paper reaches this by conjugate gradients
    (DDS), which end after one iteration, since picking a frame is a projection. first, last: the keyframes'
    latents (C, h, w). distill: as in Blend.
    Source: Yang, Kwon and Ye, ViBiDSampler, 2024, algorithm 1, with CFG++ and DDS as options.
    """

    cfg_plus_plus: bool
    data_consistency: bool
    distill: float
    first: Tensor
    last: Tensor
    noise: Noise

    def advance(self, x: Tensor, at: Step, predict: PredictPasses) -> Tensor:
        (forward,) = predict(x, at.sigma, at.index, ("forward",))
        x = self._half(x, forward, -1, self.last, at)
        x = renoise(x, at, self.noise(at.index, -1))
        if within(at.index, at.steps, self.distill):
            (forward,) = predict(x, at.sigma, at.index, ("forward",))
            backward = distilled(forward, self.last)
        else:
            (backward,) = predict(x, at.sigma, at.index, ("reversed",))
        return self._half(x, backward, 0, self.first, at)

    def _half(self, x: Tensor, prediction: Estimate, far: int, keyframe: Tensor, at: Step) -> Tensor:
        """One pass's step; `far` is the index of the frame at the end that it is not conditioned on."""
        clean = prediction.guided
        slope = prediction.unconditional if self.cfg_plus_plus else clean
        if self.data_consistency:
            clean = with_frame(clean, far, keyframe)
        return move(x, clean, slope, at)


# ---------------------------------------------------------------- what any rule can be combined with
@dataclass(frozen=True)
class EarlyStop:
    """`fusion` for the first `strength` of the steps, then the forward pass alone.

    Source: I2V3D, interp_strength (4d of the method).
    """

    fusion: Fusion
    strength: float
    afterwards: Fusion

    def advance(self, x: Tensor, at: Step, predict: PredictPasses) -> Tensor:
        fusion = self.fusion if within(at.index, at.steps, self.strength) else self.afterwards
        return fusion.advance(x, at, predict)


@dataclass(frozen=True)
class Repeated:
    """Each of the first `until` of the steps is taken 1 + times times, with fresh noise in between.

    Fused latents come back to where the passes agree. Source: Feng et al., Explorative Inbetweening of Time and
    Space, 2024, noise re-injection of time-reversal fusion.
    """

    fusion: Fusion
    times: int
    until: float
    noise: Noise

    def advance(self, x: Tensor, at: Step, predict: PredictPasses) -> Tensor:
        times = self.times if within(at.index, at.steps, self.until) else 0
        for repetition in range(times):
            x = renoise(self.fusion.advance(x, at, predict), at, self.noise(at.index, repetition))
        return self.fusion.advance(x, at, predict)


@dataclass(frozen=True)
class ReplacedEnds:
    """Every prediction shows the keyframes themselves at both ends: hard replacement of the end latents.

    A `PredictPasses`. first, last: their latents (C, h, w), last None where only the first is known. Without noise
    left the ends are then the keyframes, up to the VAE.
    """

    predict: PredictPasses
    first: Tensor
    last: Tensor | None

    def __call__(self, x: Tensor, sigma: float, step: int, passes: tuple[Pass, ...]) -> list[Estimate]:
        return [
            Estimate(self._replaced(p.unconditional), self._replaced(p.guided))
            for p in self.predict(x, sigma, step, passes)
        ]

    def _replaced(self, clip: Tensor) -> Tensor:
        clip = with_frame(clip, 0, self.first)
        return clip if self.last is None else with_frame(clip, -1, self.last)
