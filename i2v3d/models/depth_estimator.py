"""Monocular depth from one picture, by Depth Anything V2 (any size) or Depth Pro.

Source: Yang et al., "Depth Anything V2", 2024: relative weights estimate disparity of unknown scale and shift, metric
ones depth in metres. Bochkovskii et al., "Depth Pro", 2024: metric depth, by a field of view that is estimated as well.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Literal

import torch

from i2v3d.config.weights import WeightsRef
from i2v3d.errors import WeightsError
from i2v3d.images import FloatMap, Rgb
from i2v3d.models.weights import load_network, resolve

log = logging.getLogger(__name__)

Kind = Literal["metric", "disparity"]
NEAREST_M, FARTHEST_M = 1e-3, 1e4  # of Depth Pro: its inverse depth is clamped


def estimate_depth(ref: WeightsRef, rgb: Rgb, device: str) -> tuple[FloatMap, Kind]:
    """Depth (H, W) in metres, or disparity of any scale, of a picture (H, W, 3), and which of the two it is.

    The weights' own config.json says which network it is, and preprocessor_config.json at which size and how normalised
    it sees the picture. Raises WeightsError if the weights are missing, corrupt, of another architecture, or if what
    they estimate is not finite.
    """
    known = {"depth_anything": _depth_anything, "depth_pro": _depth_pro}
    kind = _model_type(resolve(ref), ref)
    if kind not in known:
        raise WeightsError(
            f"{ref.source} is of the type {kind!r}; expected one of {', '.join(sorted(known))}"
        )
    found, metric = known[kind](ref, rgb, device)
    resized = torch.nn.functional.interpolate(
        found[:, None].float().cpu(), size=rgb.shape[:2], mode="bicubic", align_corners=False
    )[0, 0]
    if not torch.isfinite(resized).all():
        raise WeightsError(f"{ref.source} estimates depth that is not finite; fetch the weights again")
    log.info("estimated %s of %d x %d pixels", "metric depth" if metric else "disparity", *rgb.shape[1::-1])
    return resized.clamp_min(NEAREST_M if metric else 0.0).numpy(), "metric" if metric else "disparity"


def _model_type(folder: Path, ref: WeightsRef) -> str:
    try:
        return str(json.loads((folder / "config.json").read_text()).get("model_type"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{ref.source} lacks a readable config.json ({error}); fetch it again") from error


def _depth_anything(ref: WeightsRef, rgb: Rgb, device: str) -> tuple[torch.Tensor, bool]:
    """What the network says (1, h, w), and whether that is metres."""
    from transformers import DepthAnythingForDepthEstimation, DPTImageProcessorPil

    network = load_network(DepthAnythingForDepthEstimation, ref, None, device, torch.float32)
    try:
        processor = DPTImageProcessorPil.from_pretrained(resolve(ref), local_files_only=True)
    except (OSError, ValueError) as error:
        raise _lacks_options(ref, error) from error
    inputs = processor(images=rgb, return_tensors="pt")
    with torch.no_grad():
        found = network(pixel_values=inputs["pixel_values"].to(device)).predicted_depth
    return found, network.config.depth_estimation_type == "metric"


def _depth_pro(ref: WeightsRef, rgb: Rgb, device: str) -> tuple[torch.Tensor, bool]:
    """Depth in metres (1, h, w) by the estimated field of view; disparity from weights without that part."""
    from transformers import DepthProForDepthEstimation

    network = load_network(DepthProForDepthEstimation, ref, None, device, torch.float32)
    try:
        options: dict[str, Any] = json.loads((resolve(ref) / "preprocessor_config.json").read_text())
        side = (int(options["size"]["height"]), int(options["size"]["width"]))
        mean, std = (torch.tensor(options[f"image_{name}"])[:, None, None] for name in ("mean", "std"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _lacks_options(ref, error) from error
    pixels = torch.from_numpy(rgb.copy()).permute(2, 0, 1).float() / 255
    square = torch.nn.functional.interpolate(
        ((pixels - mean) / std)[None], size=side, mode="bilinear", antialias=True, align_corners=False
    )
    with torch.no_grad():
        found = network(pixel_values=square.to(device))
    inverse = found.predicted_depth
    if found.field_of_view is None:
        return inverse, False
    # Inverse depth comes for a focal length of one width: that of the photo stretches it.
    width_over_focal = 2 * torch.tan(0.5 * torch.deg2rad(found.field_of_view))[:, None, None]
    return 1.0 / torch.clamp(inverse * width_over_focal, 1 / FARTHEST_M, 1 / NEAREST_M), True


def _lacks_options(ref: WeightsRef, error: Exception) -> WeightsError:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return WeightsError(f"{ref.source} lacks a usable preprocessor_config.json ({first}); fetch it too")
