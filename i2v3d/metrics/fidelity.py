"""How far pictures are from the truth, frame by frame: PSNR, SSIM, MS-SSIM, sharpness."""

from __future__ import annotations

from collections.abc import Callable

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from i2v3d.errors import ShapeError
from i2v3d.geometry.checks import check_masks, check_pictures

PSNR_CAP_DB = 100.0  # of equal pictures, so that means stay finite; one grey level in one pixel is below it
FRAMES_AT_ONCE = 8  # bounds the memory of windowed scores; changes no value
FINE_PX = 1.0  # deviation of the Gaussian that takes fine detail away, in pixels
MS_SSIM_SIDE = 161  # smallest side in pixels: five scales of an 11-pixel window


def psnr(pictures: Tensor, truth: Tensor) -> Tensor:
    """(T,) peak signal-to-noise ratio in dB, at most PSNR_CAP_DB. Raises ShapeError as `check_pictures`."""
    check_pictures(pictures=pictures, truth=truth)
    value: Tensor = peak_signal_noise_ratio(pictures, truth, data_range=1.0, reduction="none", dim=(1, 2, 3))
    return value.clamp(max=PSNR_CAP_DB)


def psnr_inside(pictures: Tensor, truth: Tensor, inside: Tensor) -> Tensor:
    """(T,) PSNR in dB over the pixels of a mask (T, H, W); NaN where the mask of a frame is empty.

    Raises ShapeError as `check_pictures` and `check_masks`.
    """
    check_pictures(pictures=pictures, truth=truth)
    check_masks(pictures, inside=inside)
    error = ((pictures - truth) ** 2).mean(dim=1)
    mean = (error * inside).sum((1, 2)) / inside.sum((1, 2))
    return (-10 * mean.log10()).clamp(max=PSNR_CAP_DB)


def sharpness(pictures: Tensor, truth: Tensor, inside: Tensor) -> Tensor:
    """(T,) fine detail over a mask (T, H, W), as a multiple of the truth's: 1 is as sharp, 0 is without any.

    Fine detail is what a Gaussian of deviation FINE_PX takes away, its root mean square over pixels and colours. Blur
    cannot raise it; noise can, so only values near 1 are good. NaN where the mask of a frame is empty or the truth has
    no detail in it. Raises ShapeError as `check_pictures` and `check_masks`.
    """
    check_pictures(pictures=pictures, truth=truth)
    check_masks(pictures, inside=inside)

    def energy(clip: Tensor) -> Tensor:
        smooth = gaussian_filter(clip.numpy(), (0, 0, FINE_PX, FINE_PX))
        fine = clip - torch.from_numpy(smooth)
        return ((fine**2).mean(dim=1) * inside).sum((1, 2))

    true = energy(truth)
    return torch.where(true > 0, (energy(pictures) / true).sqrt(), torch.nan)


def ssim(pictures: Tensor, truth: Tensor) -> Tensor:
    """(T,) structural similarity, 1 for equal pictures; 11-pixel Gaussian window of deviation 1.5.

    Raises ShapeError as `check_pictures`. Source: Wang et al. 2004.
    """
    check_pictures(pictures=pictures, truth=truth)

    def score(part: Tensor, true: Tensor) -> Tensor:
        value = structural_similarity_index_measure(part, true, data_range=1.0, reduction="none")
        assert isinstance(value, Tensor)
        return value.reshape(len(part))

    return _in_parts(score, pictures, truth)


def ms_ssim(pictures: Tensor, truth: Tensor) -> Tensor:
    """(T,) multi-scale structural similarity over five scales, 1 for equal pictures.

    Raises ShapeError as `check_pictures`, and if a side is below MS_SSIM_SIDE. Source: Wang et al. 2003.
    """
    check_pictures(pictures=pictures, truth=truth)
    height, width = pictures.shape[-2:]
    if min(height, width) < MS_SSIM_SIDE:
        raise ShapeError(
            f"pictures are {width}x{height}; MS-SSIM needs sides of at least {MS_SSIM_SIDE} pixels, use SSIM"
        )

    def score(part: Tensor, true: Tensor) -> Tensor:
        value: Tensor = multiscale_structural_similarity_index_measure(
            part, true, data_range=1.0, reduction="none", normalize="relu"
        )
        return value.reshape(len(part))

    return _in_parts(score, pictures, truth)


def _in_parts(score: Callable[[Tensor, Tensor], Tensor], pictures: Tensor, truth: Tensor) -> Tensor:
    parts = zip(pictures.split(FRAMES_AT_ONCE), truth.split(FRAMES_AT_ONCE), strict=True)
    return torch.cat([score(part, true) for part, true in parts])
