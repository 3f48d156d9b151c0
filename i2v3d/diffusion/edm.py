"""EDM in the form of Stable Video Diffusion: v-prediction, Euler steps down in noise and up (inversion).

The state is x = clean + sigma * noise, in float32. The network sees x / sqrt(sigma^2 + 1) and the timestep
ln(sigma) / 4, and predicts v. Sigmas are numbers on the CPU, so no step waits for the device.
Source: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, overload

import torch
from diffusers import EulerDiscreteScheduler
from torch import Tensor

from i2v3d.diffusion.denoiser import Predict
from i2v3d.errors import ShapeError, WeightsError
from i2v3d.progress import OnStep, ignore_step


@dataclass(frozen=True)
class EDMSchedule:
    """sigmas: the S + 1 noise levels of sampling, descending, the last one 0 (S steps between them).

    start_sigma: what unit noise is multiplied by to start; the scheduler's initial sigma.
    """

    sigmas: tuple[float, ...]
    start_sigma: float

    @staticmethod
    def from_config(config: Mapping[str, Any], steps: int) -> EDMSchedule:
        """The noise levels that diffusers' EulerDiscreteScheduler chooses for a scheduler config.

        Raises WeightsError unless the config is for v-prediction with continuous timesteps, and ShapeError
        for fewer than two steps, since the inversion extrapolates from the two lowest levels.
        """
        if steps < 2:
            raise ShapeError(f"EDM sampling in {steps} steps; expected at least 2, raise interpolate.steps")
        scheduler = EulerDiscreteScheduler.from_config(dict(config))
        kind = (scheduler.config.prediction_type, scheduler.config.timestep_type)
        if kind != ("v_prediction", "continuous") or scheduler.config.final_sigmas_type != "zero":
            raise WeightsError(
                f"the video scheduler has {kind[0]} with {kind[1]} timesteps down to sigma "
                f"{scheduler.config.final_sigmas_type}; expected v_prediction, continuous, zero, as Stable "
                "Video Diffusion does; choose other base weights"
            )
        scheduler.set_timesteps(steps)
        return EDMSchedule(tuple(scheduler.sigmas.tolist()), float(scheduler.init_noise_sigma))

    @property
    def steps(self) -> int:
        """The number of steps S."""
        return len(self.sigmas) - 1

    @property
    def sigma_max(self) -> float:
        """The highest noise level."""
        return self.sigmas[0]

    def ascending(self) -> tuple[float, ...]:
        """The S + 1 levels of the inversion: those of sampling upwards, with s_1^2 / s_2 in place of 0.

        At 0 neither the timestep nor the slope exist. Source: 4a of the method.
        """
        lowest, second = self.sigmas[-2], self.sigmas[-3]
        return (lowest * lowest / second, *reversed(self.sigmas[:-1]))


def scaled_input(x: Tensor, sigma: float | Tensor) -> Tensor:
    """x as the network sees it, of about unit variance. sigma: a number, or levels that broadcast against x."""
    variance = sigma * sigma + 1
    return x / (variance.sqrt() if isinstance(variance, Tensor) else math.sqrt(variance))


@overload
def timestep(sigma: float) -> float: ...
@overload
def timestep(sigma: Tensor) -> Tensor: ...
def timestep(sigma: float | Tensor) -> float | Tensor:
    """The continuous timestep that the network is told: ln(sigma) / 4."""
    return 0.25 * (sigma.log() if isinstance(sigma, Tensor) else math.log(sigma))


def denoised_from_velocity(velocity: Tensor, x: Tensor, sigma: float) -> Tensor:
    """The denoised latents D of a v-prediction: x / (sigma^2 + 1) - sigma / sqrt(sigma^2 + 1) * v."""
    variance = sigma * sigma + 1
    return x / variance - velocity * (sigma / math.sqrt(variance))


def euler_step(x: Tensor, denoised: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """One step of dx/dsigma = (x - D) / sigma from sigma to sigma_next, up or down."""
    return x + (x - denoised) * ((sigma_next - sigma) / sigma)


def integrate(
    x: Tensor, denoise: Predict, sigmas: Sequence[float], on_step: OnStep = ignore_step
) -> list[Tensor]:
    """Euler's solution of the probability flow through `sigmas`, in either direction.

    x: latents at sigmas[0]; denoise: the clean latents expected behind x. Returns the latents after each step,
    len(sigmas) - 1 of them, float32.
    """
    trajectory, x = [], x.to(torch.float32)
    total = len(sigmas) - 1
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x = euler_step(x, denoise(x, sigma, step), sigma, sigma_next)
        trajectory.append(x)
        on_step(step + 1, total)
    return trajectory


def sample(x: Tensor, denoise: Predict, schedule: EDMSchedule, on_step: OnStep = ignore_step) -> Tensor:
    """Latents at the highest noise level -> clean latents."""
    return integrate(x, denoise, schedule.sigmas, on_step)[-1]


def invert(clean: Tensor, denoise: Predict, schedule: EDMSchedule, on_step: OnStep = ignore_step) -> Tensor:
    """Clean latents (...) -> (S + 1, ...): the latents at each level of `schedule.ascending()`, clean first.

    Entry S - i is what sampling step i starts from. All of them are at their own noise level; the released
    code divides the last one, see `unit_noise`. Source: 4a of the method.
    """
    trajectory = integrate(clean, denoise, schedule.ascending(), on_step)
    return torch.stack([clean.to(torch.float32), *trajectory])


def unit_noise(highest: Tensor, sigma_max: float) -> Tensor:
    """Inverted latents of the highest level, scaled to about unit variance like fresh noise."""
    return highest / math.sqrt(1 + sigma_max * sigma_max)


def start_latents(inverted: Tensor, visible: Tensor, noise: Tensor, schedule: EDMSchedule) -> Tensor:
    """What sampling starts from: inverted latents where a surface is visible, fresh noise elsewhere.

    inverted: (F, C, h, w) of the highest level; noise: the same shape, unit variance; visible: (F, h, w)
    bool. Source: 4b of the method.
    """
    unit = unit_noise(inverted, schedule.sigma_max)
    return torch.where(visible[:, None], unit, noise) * schedule.start_sigma
