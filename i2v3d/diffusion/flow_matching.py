"""Sampling along a flow with one of diffusers' schedulers, which know its noise levels and multistep rules."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from i2v3d.diffusion.denoiser import Predict
from i2v3d.progress import OnStep


def integrate(scheduler: Any, steps: int, start: Tensor, predict: Predict, on_step: OnStep) -> Tensor:
    """From pure noise `start` to clean latents of the same shape, in `steps` steps.

    scheduler: a flow scheduler of diffusers; it keeps state, so one sampling needs one of its own. `predict` gives
    the velocity at its timesteps.
    """
    scheduler.set_timesteps(steps, device=start.device)
    latents = start
    for step, time in enumerate(scheduler.timesteps):
        velocity = predict(latents, float(time), step)
        latents = scheduler.step(velocity, time, latents, return_dict=False)[0]
        on_step(step + 1, len(scheduler.timesteps))
    return latents
