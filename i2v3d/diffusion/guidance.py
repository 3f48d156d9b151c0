"""Classifier-free guidance."""

from __future__ import annotations

import torch


def classifier_free_guidance(
    unconditional: torch.Tensor, conditional: torch.Tensor, scale: float | torch.Tensor
) -> torch.Tensor:
    """unconditional + scale * (conditional - unconditional); 1 is the conditional prediction.

    scale: a number, or a tensor that broadcasts against the predictions, such as one value a frame.
    Source: Ho and Salimans, Classifier-Free Diffusion Guidance, 2022.
    """
    return unconditional + scale * (conditional - unconditional)
