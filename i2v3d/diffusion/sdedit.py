"""SDEdit: noise of some level is added to a picture, which is then sampled from there.

Source: Meng et al., SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations, 2022.
"""

from __future__ import annotations

import torch

from i2v3d.diffusion.ddim import DDIM
from i2v3d.diffusion.denoiser import Predict
from i2v3d.progress import OnStep, ignore_step


def steps_run(steps: int, strength: float) -> int:
    """How many of `steps` sampling steps a strength in (0, 1] runs: the last ones, at least one."""
    return max(1, round(strength * steps))


def add_noise(ddim: DDIM, clean: torch.Tensor, noise: torch.Tensor, level: int) -> torch.Tensor:
    """Clean latents at noise level `level` of the schedule: sqrt(a) clean + sqrt(1 - a) noise."""
    alpha_bar = ddim.alpha_bar[level]
    return alpha_bar**0.5 * clean + (1 - alpha_bar) ** 0.5 * noise


def sample_from(
    ddim: DDIM, x: torch.Tensor, predict: Predict, level: int, on_step: OnStep = ignore_step
) -> torch.Tensor:
    """Latents of noise level `level` -> clean latents, by DDIM. predict: the noise in x."""
    for done, source in enumerate(range(level, 0, -1), start=1):
        x = ddim.move(x, predict(x, ddim.timesteps[source - 1], done - 1), source, source - 1)
        on_step(done, level)
    return x
