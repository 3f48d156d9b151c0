"""Monocular depth from one picture, by Depth Anything V2 or what transformers loads the same way.

Source: Yang et al., "Depth Anything V2", 2024. Relative weights estimate disparity of unknown scale and shift,
metric ones depth in metres.
"""

from __future__ import annotations

import logging
from typing import Literal

import torch

from i2v3d.config.weights import WeightsRef
from i2v3d.errors import WeightsError
from i2v3d.images import FloatMap, Rgb
from i2v3d.models.weights import load_network, resolve

log = logging.getLogger(__name__)


def estimate_depth(ref: WeightsRef, rgb: Rgb, device: str) -> tuple[FloatMap, Literal["metric", "disparity"]]:
    """Depth (H, W) in metres, or disparity of any scale, of a picture (H, W, 3), and which of the two it is.

    The weights' own preprocessor_config.json says at which size and how normalised the network sees the
    picture. Raises WeightsError if the weights are missing, corrupt, of another architecture, or if what they
    estimate is not finite.
    """
    from transformers import DepthAnythingForDepthEstimation, DPTImageProcessorPil

    network = load_network(DepthAnythingForDepthEstimation, ref, None, device, torch.float32)
    try:
        processor = DPTImageProcessorPil.from_pretrained(resolve(ref), local_files_only=True)
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{ref.source} lacks a usable preprocessor_config.json ({str(error).splitlines()[0]}); fetch it too"
        ) from error
    inputs = processor(images=rgb, return_tensors="pt")
    with torch.no_grad():
        found = network(pixel_values=inputs["pixel_values"].to(device)).predicted_depth
    resized = torch.nn.functional.interpolate(
        found[:, None].float().cpu(), size=rgb.shape[:2], mode="bicubic", align_corners=False
    )[0, 0]
    if not torch.isfinite(resized).all():
        raise WeightsError(f"{ref.source} estimates depth that is not finite; fetch the weights again")
    metric = network.config.depth_estimation_type == "metric"
    log.info("estimated %s of %d x %d pixels", "metric depth" if metric else "disparity", *rgb.shape[1::-1])
    return resized.clamp_min(1e-3 if metric else 0.0).numpy(), "metric" if metric else "disparity"
