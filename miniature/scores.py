"""Scores and pictures of training runs. Images are (N, 3, H, W) in [-1, 1]."""

from __future__ import annotations

from pathlib import Path

import torch

from i2v3d import images as pictures
from i2v3d.metrics import fidelity


def psnr(image: torch.Tensor, truth: torch.Tensor, inside: torch.Tensor | None = None) -> float:
    """Mean PSNR in dB over images; inside (N, 1, H, W) bool: where errors count, images without any left out."""
    shown, true = _unit(image), _unit(truth)
    if inside is None:
        return float(fidelity.psnr(shown, true).mean())
    return float(fidelity.psnr_inside(shown, true, inside[:, 0]).nanmean())


def save_grid(images: torch.Tensor, columns: int, path: Path) -> None:
    """Writes images as one picture, row by row."""
    shown = (_unit(images) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [list(shown[i : i + columns]) for i in range(0, len(shown), columns)]
    pictures.write_rgb(path, pictures.grid(rows))


def _unit(image: torch.Tensor) -> torch.Tensor:
    """[-1, 1], clipped, to [0, 1]."""
    return (image.float().clamp(-1, 1) + 1) / 2
