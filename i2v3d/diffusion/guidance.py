"""Classifier-free guidance: the one place where the unconditional and the conditional prediction meet."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from i2v3d.diffusion.denoiser import Denoiser


def classifier_free_guidance(
    unconditional: torch.Tensor, conditional: torch.Tensor, scale: float | torch.Tensor
) -> torch.Tensor:
    """unconditional + scale * (conditional - unconditional); 1 is the conditional prediction.

    scale: a number, or a tensor that broadcasts against the predictions, such as one value a frame.
    Source: Ho and Salimans, Classifier-Free Diffusion Guidance, 2022.
    """
    return unconditional + scale * (conditional - unconditional)


@dataclass(frozen=True)
class Estimate:
    """A prediction without the condition and with guidance on it, of one shape; CFG++ reads both."""

    unconditional: torch.Tensor
    guided: torch.Tensor


@dataclass(frozen=True)
class Guided:
    """A denoiser under guidance of `scale`: what every sampler, of keyframes and of clips, asks."""

    denoiser: Denoiser
    scale: float

    def __call__(self, x: torch.Tensor, level: float, step: int) -> Estimate:
        """The estimate behind x at noise level `level`, see `Denoiser`."""
        found = self.denoiser(x, level, step)
        if self.scale == 1:
            return Estimate(found.unconditional, found.conditional)
        return Estimate(
            found.unconditional,
            classifier_free_guidance(found.unconditional, found.conditional, self.scale),
        )

    def predict(self, x: torch.Tensor, level: float, step: int) -> torch.Tensor:
        """The guided prediction alone, a `Predict`."""
        return self(x, level, step).guided
