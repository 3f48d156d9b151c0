"""Objects cut out of pictures by their masks, for networks that say who they are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MARGIN = 1.15  # side of an object's crop, in multiples of its bounding box's longer side


def mask_boxes(masks: Tensor) -> Tensor:
    """Bounding boxes (N, 4) of masks (N, 1, H, W): left, top, right, bottom in pixels, where they exceed 0.5.

    An empty mask's box is the whole picture.
    """
    inside = masks[:, 0] > 0.5

    def ends(line: Tensor) -> tuple[Tensor, Tensor]:
        first = line.float().argmax(dim=1)
        return first, line.shape[1] - line.flip(1).float().argmax(dim=1)

    (left, right), (top, bottom) = ends(inside.any(1)), ends(inside.any(2))
    return torch.stack([left, top, right, bottom], dim=1).float()


def object_crops(pictures: Tensor, masks: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Squares (N, 3, side, side) around the objects, grey outside the mask, so that only the object counts.

    pictures (N, 3, H, W) in [-1, 1]; masks (N, 1, H, W) in [0, 1]; boxes: `mask_boxes`. The square's side is
    MARGIN times the box's longer side, so shapes keep their proportions.
    """
    height, width = pictures.shape[-2:]
    left, top, right, bottom = boxes.unbind(1)
    reach = MARGIN * torch.maximum(right - left, bottom - top)
    zero = torch.zeros_like(reach)
    rows = [
        torch.stack([reach / width, zero, (left + right) / width - 1], dim=1),
        torch.stack([zero, reach / height, (top + bottom) / height - 1], dim=1),
    ]
    grid = functional.affine_grid(
        torch.stack(rows, dim=1), [len(pictures), 3, side, side], align_corners=False
    )
    return functional.grid_sample(
        pictures * masks, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
