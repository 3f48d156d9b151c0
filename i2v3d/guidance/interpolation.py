"""Training-free interpolation of a segment: its coarse clip is inverted both ways, then sampled from both ends.

Section 4 of the method. Everything is in the order of the shot unless it says otherwise. Shapes: F frames of the
segment, both of its ends included; S steps; C latent channels; (h, w) latent size; (H, W) pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

import torch
from torch import Tensor

from i2v3d.diffusion import edm
from i2v3d.diffusion.denoiser import Condition, Network, Predict
from i2v3d.diffusion.fusion import (
    Blend,
    EarlyStop,
    ForwardOnly,
    Fusion,
    Noise,
    PredictPasses,
    Repeated,
    ReplacedEnds,
    Sequential,
    Weights,
    reversed_weights,
    sample,
)
from i2v3d.diffusion.multistep import SecondOrderPasses, second_order
from i2v3d.errors import ShapeError
from i2v3d.guidance.branches import Branches
from i2v3d.guidance.injection import resolve_layers
from i2v3d.guidance.masks import nearest_resize
from i2v3d.guidance.passes import ClipInjection, DirectionalPass, GuidedPasses
from i2v3d.progress import OnStep, ignore_step
from i2v3d.randomness import frame_noise


class ClipCondition(Condition, Protocol):
    """The condition of clips: a picture that begins them, and their depth."""

    def unconditional(self) -> Any:
        """The same without the picture."""

    def reversed(self) -> Any:
        """The same of the clips played backwards."""


C = TypeVar("C", bound=ClipCondition)
Solver = Literal["euler", "dpmpp_2m"]


@dataclass(frozen=True)
class ClipInversion(Generic[C]):
    """The inversion of a coarse clip, both ways, and what it was conditioned on.

    forward, reversed: (S + 1, F, C, h, w) float32, clean latents first, each at its own noise level; the reversed one
    begins with the clip's last frame. first, last: the conditions of one clip on its coarse first and last frame, depth
    in the order of the shot.
    """

    forward: Tensor
    reversed: Tensor
    first: C
    last: C


@dataclass(frozen=True)
class EndPicture(Generic[C]):
    """A picture that stands for a segment's first or last frame. condition: of one clip on it, depth in the order of
    the shot; latents: its own, (C, h, w), scaled like the clip's."""

    condition: C
    latents: Tensor


@dataclass(frozen=True)
class ClipNoise:
    """The noise of a segment. start: (F, C, h, w), unit variance, for what is not visible; again: of repeated steps."""

    start: Tensor
    again: Noise

    @staticmethod
    def seeded(frames: list[int], shape: tuple[int, ...], seed: int, device: str) -> ClipNoise:
        """Noise that depends on the seed and the frame numbers only. shape: (C, h, w)."""

        def again(step: int, repetition: int) -> Tensor:
            what = f"interpolate step {step} repetition {repetition}"
            return frame_noise(frames, shape, seed, what).to(device)

        return ClipNoise(frame_noise(frames, shape, seed, "interpolate").to(device), again)


@dataclass(frozen=True)
class FusionOptions:
    """How the passes from both ends together denoise a segment; `i2v3d.diffusion.fusion` has the formulas.

    method: both predictions blended with weights, or one pass after the other. power: of the weights 'power'.
    cfg_plus_plus, data_consistency: switches of ViBiDSampler. renoise: repetitions of each of the first
    renoise_until of the steps. distill_until: fraction of the steps in which the reversed pass moves as the forward
    one does. replace_ends: the end pictures' latents at both ends.
    """

    method: Literal["blend", "sequential"]
    weights: Weights
    power: float
    cfg_plus_plus: bool
    data_consistency: bool
    renoise: int
    renoise_until: float
    distill_until: float
    replace_ends: bool

    @property
    def steps_once(self) -> bool:
        """Whether each step is taken once, along the guided prediction, from which a solver of second order goes on."""
        return self.method == "blend" and not self.renoise and not self.cfg_plus_plus


@dataclass(frozen=True)
class InterpolationGuidance:
    """How a segment is guided (4c to 4e of the method).

    scale: of the classifier-free guidance. interp_strength: fraction of the steps guided from both ends. injection:
    with patterns of layer names; None for the ablation without it. compat_unflipped_masks: the reversed pass reads
    visibility in the order of the shot; compat_scaled_source: the first step's source is scaled down twice. These two
    reproduce the released code. solver: of first or second order, the latter for blends alone, whose steps go along
    guided predictions and are taken once. unconditional_every: see `SparseUnconditional`.
    """

    scale: float
    interp_strength: float
    fusion: FusionOptions
    injection: ClipInjection | None
    compat_unflipped_masks: bool
    compat_scaled_source: bool
    solver: Solver
    unconditional_every: int


def invert_clip(
    network: Network[Any],
    schedule: edm.EDMSchedule,
    clean: Tensor,
    first: C,
    last: C,
    *,
    solver: Solver,
    compat_unflipped_depth: bool,
    max_batch: int,
    on_step: OnStep = ignore_step,
) -> ClipInversion[C]:
    """The coarse clip back to noise, forward and reversed, without guidance.

    clean: its latents (F, C, h, w). first, last: as in `ClipInversion`. solver: of first or second order.
    compat_unflipped_depth: the reversed clip sees depth in the order of the shot, as in the released code. max_batch:
    pictures a network call (0: no limit). Source: 4a of the method.
    """
    condition = first.join([first, last if compat_unflipped_depth else last.reversed()])

    def denoise(x: Tensor, level: float, step: int) -> Tensor:
        return network.in_chunks(x, level, condition, max_batch)

    along: Predict = second_order(denoise, schedule.ascending()) if solver == "dpmpp_2m" else denoise
    with torch.no_grad():
        trajectory = edm.invert(torch.stack([clean, clean.flip(0)]), along, schedule, on_step)
    return ClipInversion(trajectory[:, 0], trajectory[:, 1], first, last)


def interpolate(
    network: Network[Any],
    schedule: edm.EDMSchedule,
    inversion: ClipInversion[C],
    visible: Tensor,
    ends: Sequence[EndPicture[C]],
    noise: ClipNoise,
    guidance: InterpolationGuidance,
    *,
    max_batch: int,
    on_step: OnStep = ignore_step,
) -> Tensor:
    """The clean latents (F, C, h, w) of all frames of a segment, float32.

    visible: (F, H, W) bool, where the renders show a surface. ends: the pictures of the first and the last frame; the
    first alone leaves the reversed pass out (ablation). max_batch: pictures a network call (0: no limit); the
    branches of one pass are the least at steps that inject. Raises ShapeError if inversion and schedule differ in
    steps, LayerError if a layer pattern matches nothing. Source: 4b to 4e of the method.
    """
    if len(inversion.forward) != schedule.steps + 1:
        raise ShapeError(
            f"the inversion has {len(inversion.forward)} noise levels; expected {schedule.steps + 1}, one more "
            "than steps"
        )
    highest = inversion.forward[-1]
    visible = visible.to(highest.device)
    passes = [
        _pass(schedule, inversion, visible, end, guidance, last)
        for end, last in zip(ends, (False, True), strict=False)
    ]
    predict: PredictPasses = GuidedPasses(
        network,
        passes[0],
        passes[1] if len(passes) > 1 else None,
        guidance.scale,
        resolved(network, guidance.injection),
        guidance.unconditional_every,
        max_batch,
    )
    latents = [end.latents for end in ends]
    if guidance.fusion.replace_ends:
        predict = ReplacedEnds(predict, latents[0], latents[1] if len(latents) > 1 else None)
    if guidance.solver == "dpmpp_2m":
        assert guidance.fusion.steps_once, "dpmpp_2m is refused with fusions that take a step more than once"
        predict = SecondOrderPasses(predict, schedule.sigmas)
    start = edm.start_latents(highest, nearest_resize(visible, *highest.shape[-2:]), noise.start, schedule)
    with torch.no_grad():
        return sample(start, _fusion(guidance, latents, noise, len(highest)), predict, schedule, on_step)


def _pass(
    schedule: edm.EDMSchedule,
    inversion: ClipInversion[C],
    visible: Tensor,
    end: EndPicture[C],
    guidance: InterpolationGuidance,
    backwards: bool,
) -> DirectionalPass[C]:
    """The pass from the first frame onwards, or from the last one backwards with all inputs reversed.

    Differs from the released code, unless compat_unflipped_masks: visibility is reversed with the frames.
    """
    source, condition = (
        (inversion.last.reversed(), end.condition.reversed())
        if backwards
        else (inversion.first, end.condition)
    )
    guided = guidance.scale != 1 or guidance.fusion.cfg_plus_plus
    return DirectionalPass(
        source=source_latents(
            inversion.reversed if backwards else inversion.forward,
            schedule.sigma_max,
            compat_scaled_source=guidance.compat_scaled_source,
        ),
        branches=Branches(source, condition.unconditional() if guided else None, condition),
        visible=visible.flip(0) if backwards and not guidance.compat_unflipped_masks else visible,
        reversed=backwards,
    )


def source_latents(trajectory: Tensor, sigma_max: float, *, compat_scaled_source: bool) -> Tensor:
    """What the source branch sees at each sampling step, (S, F, C, h, w): highest noise first.

    trajectory: (S + 1, F, C, h, w) of an inversion. Differs from the released code, unless compat_scaled_source: that
    leaves the first one divided by sqrt(1 + sigma^2), as stored for the start, and the network's input scaling
    divides it again.
    """
    source = trajectory[1:].flip(0)
    if compat_scaled_source:
        source[0] = edm.unit_noise(source[0], sigma_max)
    return source


def resolved(network: Network[Any], injection: ClipInjection | None) -> ClipInjection | None:
    """The injection with the names of the network's layers in place of patterns."""
    if injection is None:
        return None
    return ClipInjection(
        resolve_layers(network.layers, injection.attention),
        resolve_layers(network.layers, injection.block),
        injection.tau_attention,
        injection.tau_block,
    )


def _fusion(guidance: InterpolationGuidance, ends: Sequence[Tensor], noise: ClipNoise, frames: int) -> Fusion:
    """The rule by which the sampler goes from level to level. ends: latents (C, h, w) of the end pictures."""
    options = guidance.fusion
    alone = ForwardOnly(options.cfg_plus_plus)
    if len(ends) == 1:
        return alone
    both: Fusion
    if options.method == "sequential":
        both = Sequential(
            options.cfg_plus_plus,
            options.data_consistency,
            options.distill_until,
            ends[0],
            ends[1],
            noise.again,
        )
    else:
        weights = reversed_weights(options.weights, frames, options.power, ends[0].device)
        both = Blend(weights, options.cfg_plus_plus, options.distill_until, ends[1])
    if options.renoise:
        both = Repeated(both, options.renoise, options.renoise_until, noise.again)
    return EarlyStop(both, guidance.interp_strength, alone)
