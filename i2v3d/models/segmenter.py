"""SAM 2: the mask of what a box or points on a photo mean.

Source: Ravi et al., "SAM 2: Segment Anything in Images and Videos", 2024; the networks are those of transformers.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from i2v3d.config.weights import WeightsRef
from i2v3d.errors import WeightsError
from i2v3d.images import Mask, Rgb
from i2v3d.models.weights import load_network, resolve

log = logging.getLogger(__name__)

Box = tuple[float, float, float, float]
Point = tuple[float, float]
# What pictures are normalised with where the weights' preprocessor_config.json does not say (ImageNet's).
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def sam2_mask(
    ref: WeightsRef,
    rgb: Rgb,
    box: Box | None,
    points: Sequence[Point],
    background_points: Sequence[Point],
    device: str,
) -> Mask:
    """Foreground (H, W) bool of a photo (H, W, 3).

    box: left, top, right, bottom; points: (x, y) on the object and beside it; fractions of the photo. At least
    one of box and points must be given. Of several masks that points can mean, the one that the network trusts
    most. Raises WeightsError if the weights are missing, corrupt or of another architecture.
    """
    from transformers import Sam2Model

    assert box is not None or points, "SAM 2 needs a box or a point"
    network = load_network(Sam2Model, ref, None, device, torch.float32)
    side = _side_px(network.config.vision_config.backbone_config.image_size, ref)
    pixels = _normalised(rgb, side, resolve(ref)).to(device)
    prompts: dict[str, torch.Tensor] = {}
    if box is not None:
        prompts["input_boxes"] = torch.tensor([[box]], dtype=torch.float32, device=device) * side
    if marked := [*points, *background_points]:
        labels = [1] * len(points) + [0] * len(background_points)
        prompts["input_points"] = torch.tensor([[marked]], dtype=torch.float32, device=device) * side
        prompts["input_labels"] = torch.tensor([[labels]], dtype=torch.int64, device=device)
    with torch.no_grad():
        found = network(pixel_values=pixels, multimask_output=box is None, **prompts)
    scores = found.iou_scores[0, 0].float().cpu()
    best = int(scores.argmax())
    log.info("SAM 2 trusts its mask by %.2f", float(scores[best]))
    logits = found.pred_masks[0, 0, best].float().cpu().numpy()
    height, width = rgb.shape[:2]
    return cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR) > 0.0


def _side_px(size: int | Sequence[int], ref: WeightsRef) -> int:
    """Side of the square that the network sees. Raises WeightsError if it is no square."""
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise WeightsError(f"{ref.source} takes pictures of {list(sides)} pixels; expected a square of SAM 2")
    return int(sides.pop())


def _normalised(rgb: Rgb, side: int, folder: Path) -> torch.Tensor:
    """(1, 3, side, side) float32: stretched to a square, as the network was trained."""
    mean, std = MEAN, STD
    if (options := folder / "preprocessor_config.json").is_file():
        told = json.loads(options.read_text())
        mean, std = told.get("image_mean", mean), told.get("image_std", std)
    square = cv2.resize(
        rgb, (side, side), interpolation=cv2.INTER_AREA if side < rgb.shape[1] else cv2.INTER_LINEAR
    )
    values = (square.astype(np.float32) / 255.0 - np.array(mean, np.float32)) / np.array(std, np.float32)
    return torch.from_numpy(values).permute(2, 0, 1)[None]
