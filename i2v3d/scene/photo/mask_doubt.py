"""Whether a mask that was found without the user's help may be the background instead of the object."""

from __future__ import annotations

import cv2
import numpy as np

from i2v3d.images import Mask, Rgb

GIVEN = ("file", "alpha", "truth", "render")  # sources that know what they say
MOST_OF_BORDER, MOST_OF_SIDE, LITTLE_OF_MIDDLE = 0.5, 0.75, 0.05
WORKING_SIDE_PX, AROUND_PX = 256, 9  # how far to both sides of an outline colours are compared
SEEN_EDGE = 10.0  # difference of Lab colours across an edge that a viewer sees
LITTLE_OF_OUTLINE = 0.5


def mask_doubt(source: str, mask: Mask, rgb: Rgb) -> str | None:
    """Why a mask (H, W) of a picture (H, W, 3) may not be the object, in words that follow 'the foreground ...'.

    None if nothing says so. An object stands somewhere in the middle, leaves most of the border free, and its outline
    is an edge of the picture; sky, ground and walls do not.
    """
    if source in GIVEN:
        return None
    height, width = mask.shape
    sides = [mask[0], mask[-1], mask[:, 0], mask[:, -1]]
    border = float(np.concatenate(sides).mean())
    middle = float(mask[height // 4 : -(height // 4), width // 4 : -(width // 4)].mean())
    edge = outline_on_edges(mask, rgb)
    why = None
    if border > MOST_OF_BORDER:
        why = f"touches {border:.0%} of the frame's border"
    elif float(sides[0].mean()) > MOST_OF_SIDE:
        why = "fills the frame's upper side"
    elif middle < LITTLE_OF_MIDDLE:
        why = f"covers {middle:.0%} of the frame's middle"
    elif edge < LITTLE_OF_OUTLINE:
        why = f"follows an edge of the picture on {edge:.0%} of its outline"
    return None if why is None else f"{why}, so it may be the background"


def outline_on_edges(mask: Mask, rgb: Rgb) -> float:
    """The share of a mask's outline across which the picture's colours differ visibly; 1 without an outline."""
    scale = min(1.0, WORKING_SIDE_PX / max(mask.shape))
    size = (max(8, round(mask.shape[1] * scale)), max(8, round(mask.shape[0] * scale)))
    lab = cv2.cvtColor(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB).astype(
        np.float32
    )
    inside = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    outline = cv2.dilate(inside.astype(np.uint8), cross) > cv2.erode(
        inside.astype(np.uint8), cross, borderValue=1
    )
    if not outline.any():
        return 1.0
    means = []
    for side in (inside, ~inside):
        weight = side.astype(np.float32)
        total = cv2.boxFilter(lab * weight[..., None], -1, (AROUND_PX, AROUND_PX), normalize=False)
        count = cv2.boxFilter(weight, -1, (AROUND_PX, AROUND_PX), normalize=False)
        means.append(total / np.maximum(count, 1.0)[..., None])
    across = np.linalg.norm(means[0] - means[1], axis=-1)
    return float((across[outline] > SEEN_EDGE).mean())
