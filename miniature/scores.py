"""Scores and pictures of training runs. Images are (..., 3, H, W) in [-1, 1]."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image


def psnr(image: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor | None = None) -> float:
    """Mean over images of 10 log10(2^2 / MSE) in dB; weight (N, 1, H, W): where errors count."""
    error = (image.float().clamp(-1, 1) - truth.float().clamp(-1, 1)) ** 2
    if weight is None:
        weight = torch.ones_like(error[:, :1])
    total = (error * weight).sum((1, 2, 3)) / (3 * weight.sum((1, 2, 3))).clamp(min=1.0)
    return float((10 * torch.log10(4 / total.clamp(min=1e-10))).mean())


def iou(one: torch.Tensor, two: torch.Tensor) -> float:
    """Mean intersection over union of boolean masks (N, ...)."""
    one, two = one.flatten(1), two.flatten(1)
    return float(((one & two).sum(1) / (one | two).sum(1).clamp(min=1)).mean())


def save_grid(images: torch.Tensor, columns: int, path: Path) -> None:
    """Writes images (N, 3, H, W) as one picture, row by row."""
    array = ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy().transpose(0, 2, 3, 1)
    rows = [np.concatenate(list(array[i : i + columns]), axis=1) for i in range(0, len(array), columns)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path)
