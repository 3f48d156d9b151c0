"""3D-guided keyframe sampling: DDIM from inverted latents, windows of frames averaged at every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from i2v3d.diffusion.ddim import DDIM
from i2v3d.diffusion.guidance import classifier_free_guidance
from i2v3d.diffusion.sdedit import add_noise
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


@dataclass(frozen=True)
class KnownFrame:
    """A keyframe that is not generated: clean latents and unit noise (C, h, w) of frame `index`, from 0.

    At every level it is what its clean latents with that much of the one noise are, so that the other frames
    of its window attend to a true picture. Source: Lugmayr et al., RePaint, 2022, equation 8a, with fixed noise.
    """

    index: int
    clean: torch.Tensor
    noise: torch.Tensor

    def at(self, ddim: DDIM, level: int) -> torch.Tensor:
        """Its latents (C, h, w) at noise level `level`, 0 is clean."""
        return self.clean if level == 0 else add_noise(ddim, self.clean, self.noise, level)


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
    known: KnownFrame | None = None,
) -> list[torch.Tensor]:
    """Denoises N keyframes together; returns the latents (N, C, h, w) after each step, the last one clean.

    start: (N, C, h, w) at the highest level. source: the inverted latents of levels 1 ... S, ascending
    in noise. known: a frame that keeps its picture. A frame in several windows gets the mean of its denoised
    latents (3f of the method).
    """
    rows = torch.tensor(windows.rows, device=start.device)
    mean = windows.mean_weights().to(start)
    x, trajectory = _with_known(start, known, ddim, ddim.steps), []
    for step, level in enumerate(range(ddim.steps, 0, -1)):
        windowed = x[rows]
        timestep = ddim.timesteps[level - 1]
        parts = predict(windowed, source[level - 1][rows], timestep, step)
        noise = classifier_free_guidance(*parts, guidance)
        denoised = ddim.move(windowed, noise, level, level - 1)
        x = _with_known(torch.einsum("nr,rchw->nchw", mean, denoised), known, ddim, level - 1)
        trajectory.append(x)
        on_step(step + 1, ddim.steps)
    return trajectory


def _with_known(x: torch.Tensor, known: KnownFrame | None, ddim: DDIM, level: int) -> torch.Tensor:
    if known is None:
        return x
    x = x.clone()
    x[known.index] = known.at(ddim, level)
    return x
