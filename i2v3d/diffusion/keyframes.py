"""3D-guided keyframe sampling: DDIM from inverted latents, windows of frames averaged at every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from i2v3d.diffusion.ddim import DDIM
from i2v3d.diffusion.guidance import classifier_free_guidance
from i2v3d.diffusion.windows import Windows
from i2v3d.progress import OnStep, ignore_step


class PredictBranches(Protocol):
    """Predicts the noise of the unconditional and the conditional branch.

    x, source: (rows, C, h, w), the latents to denoise and the source branch's at the same noise level; rows
    are the frames of all windows, window after window. step: from 0, for the time limits of the injection.
    """

    def __call__(
        self, x: torch.Tensor, source: torch.Tensor, timestep: int, step: int
    ) -> tuple[torch.Tensor, torch.Tensor]: ...


def start_latents(inverted: torch.Tensor, visible: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The inverted latents where a surface is visible, fresh noise elsewhere (3b of the method).

    inverted, noise: (N, C, h, w); visible: (N, h, w) bool.
    """
    return torch.where(visible[:, None], inverted, noise)


def sample_keyframes(
    ddim: DDIM,
    start: torch.Tensor,
    source: Sequence[torch.Tensor],
    predict: PredictBranches,
    windows: Windows,
    guidance: float,
    on_step: OnStep = ignore_step,
) -> list[torch.Tensor]:
    """Denoises N keyframes together; returns the latents (N, C, h, w) after each step, the last one clean.

    start: (N, C, h, w) at the highest level. source: the inverted latents of levels 1 ... S, ascending
    in noise. A frame in several windows gets the mean of its denoised latents (3f of the method).
    """
    rows = torch.tensor(windows.rows, device=start.device)
    mean = windows.mean_weights().to(start)
    x, trajectory = start, []
    for step, level in enumerate(range(ddim.steps, 0, -1)):
        windowed = x[rows]
        timestep = ddim.timesteps[level - 1]
        parts = predict(windowed, source[level - 1][rows], timestep, step)
        noise = classifier_free_guidance(*parts, guidance)
        denoised = ddim.move(windowed, noise, level, level - 1)
        x = torch.einsum("nr,rchw->nchw", mean, denoised)
        trajectory.append(x)
        on_step(step + 1, ddim.steps)
    return trajectory
