"""DDIM with a diffusers scheduler's noise schedule: the timesteps, one step up (inversion), one step down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDIMScheduler

from i2v3d.diffusion.denoiser import Predict
from i2v3d.errors import WeightsError
from i2v3d.progress import OnStep, ignore_step


@dataclass(frozen=True)
class DDIM:
    """The deterministic sampler (eta = 0) on `timesteps`, ascending, t_1 < ... < t_S.

    alpha_bar: cumulative signal fraction at 0 and at each timestep, S + 1 floats; alpha_bar[0] is the
    scheduler's final_alpha_cumprod. Plain numbers, so no step waits for the device.
    Source: Song et al., Denoising Diffusion Implicit Models, 2021; 3a of the method for the convention.
    """

    timesteps: tuple[int, ...]
    alpha_bar: tuple[float, ...]

    @staticmethod
    def from_config(config: Mapping[str, Any], steps: int) -> DDIM:
        """The `steps` timesteps that diffusers' DDIMScheduler chooses for a scheduler config.

        Raises WeightsError if the scheduler is not for networks that predict the noise.
        """
        scheduler = DDIMScheduler.from_config(dict(config))
        if scheduler.config["prediction_type"] != "epsilon":
            raise WeightsError(
                f"the image scheduler predicts '{scheduler.config['prediction_type']}'; "
                "expected 'epsilon', as SDXL does; choose other base weights"
            )
        scheduler.set_timesteps(steps)
        timesteps = sorted(int(t) for t in scheduler.timesteps)
        alpha_bar = (float(scheduler.alphas_cumprod[t]) for t in timesteps)
        return DDIM(tuple(timesteps), (float(scheduler.final_alpha_cumprod), *alpha_bar))

    @property
    def steps(self) -> int:
        """The number of steps S."""
        return len(self.timesteps)

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Noise of the levels S to 0 where the signal is 1; the last one counts as clean, 0."""
        return (*(((1 - a) / a) ** 0.5 for a in reversed(self.alpha_bar[1:])), 0.0)

    def clean(self, x: torch.Tensor, noise: torch.Tensor, level: int) -> torch.Tensor:
        """The clean latents behind x at noise level `level`, given its `noise`."""
        alpha_bar = self.alpha_bar[level]
        return (x - (1 - alpha_bar) ** 0.5 * noise) / alpha_bar**0.5

    def noise(self, x: torch.Tensor, clean: torch.Tensor, level: int) -> torch.Tensor:
        """The noise in x at noise level `level`, given the `clean` latents."""
        alpha_bar = self.alpha_bar[level]
        return (x - alpha_bar**0.5 * clean) / (1 - alpha_bar) ** 0.5

    def move(self, x: torch.Tensor, noise: torch.Tensor, source: int, target: int) -> torch.Tensor:
        """x at noise level `source` -> the same at level `target` (0 is clean), along predicted `noise`."""
        alpha_bar_target = self.alpha_bar[target]
        x0 = self.clean(x, noise, source)
        return alpha_bar_target**0.5 * x0 + (1 - alpha_bar_target) ** 0.5 * noise

    def invert(self, x: torch.Tensor, predict: Predict, on_step: OnStep = ignore_step) -> list[torch.Tensor]:
        """Clean latents -> the latents of every level, x_1 ... x_S, ascending in noise.

        predict: the noise in x. The network is asked at the timestep of the level that is being reached.
        """
        levels = []
        for level, t in enumerate(self.timesteps, start=1):
            x = self.move(x, predict(x, t, level - 1), level - 1, level)
            levels.append(x)
            on_step(level, self.steps)
        return levels
