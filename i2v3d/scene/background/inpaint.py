"""The background plate: what the foreground hid is filled, and the frame's surroundings are made up."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from i2v3d.images import Mask, Rgb

Method = Literal["telea", "navier_stokes"]
Padding = Literal["smooth", "edge", "mirror"]
FloatPicture = npt.NDArray[np.float32]
_BORDERS = {"edge": cv2.BORDER_REPLICATE, "mirror": cv2.BORDER_REFLECT}
RIM = 0.05  # of the longer side: how far into a hole the surroundings' structure is continued


def background_plate(
    rgb: Rgb,
    mask: Mask,
    pad_x: int,
    pad_y: int,
    method: Method,
    radius: float,
    dilate: float,
    padding: Padding,
) -> Rgb:
    """A picture (H, W, 3) without what `mask` (H, W) shows and wider by margins in pixels on each side.

    The hole is grown by `dilate`, since the rim of blended pixels around the object would stay as a ghost
    outline. radius, dilate: fractions of the longer side. padding: what the margins show: smooth (colours that
    run out), edge (the last row and column) or mirror (which repeats objects). Returns
    (H + 2 pad_y, W + 2 pad_x, 3), equal to the picture outside the grown hole.
    """
    longer = max(rgb.shape[:2])
    hole = grown(mask, dilate)
    margins = (pad_y, pad_y, pad_x, pad_x)
    reach = (max(1.0, radius * longer), RIM * longer)
    if padding != "smooth":
        inside = fill(rgb, hole, method, *reach)
        return cv2.copyMakeBorder(inside, *margins, _BORDERS[padding])
    wide = cv2.copyMakeBorder(rgb, *margins, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    return fill(wide, unknown(mask, pad_x, pad_y, dilate, padding), method, *reach)


def unknown(mask: Mask, pad_x: int, pad_y: int, dilate: float, padding: Padding) -> Mask:
    """What of a plate (H + 2 pad_y, W + 2 pad_x) was made up: the grown hole, and smooth margins."""
    hole = grown(mask, dilate).astype(np.uint8)
    margin = int(padding == "smooth")
    return cv2.copyMakeBorder(hole, pad_y, pad_y, pad_x, pad_x, cv2.BORDER_CONSTANT, value=margin) > 0


def grown(mask: Mask, dilate: float) -> Mask:
    """A mask (H, W) grown by a disc whose radius is a fraction of the longer side."""
    grow_px = round(dilate * max(mask.shape))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grow_px + 1, 2 * grow_px + 1))
    return cv2.dilate(mask.astype(np.uint8), disc) > 0


def padding_px(width: int, height: int, pad: float) -> tuple[int, int]:
    """Margins (x, y) in whole pixels of a plate padded by `pad` of its size on each side."""
    return round(pad * width), round(pad * height)


def fill(rgb: Rgb, hole: Mask, method: Method, radius_px: float, rim_px: float) -> Rgb:
    """Fills `hole` (H, W) of a picture (H, W, 3); other pixels stay as they are.

    Near its rim by OpenCV's inpainting, which continues edges and looks `radius_px` around; this fades over
    `rim_px` into a smooth fill, since in a large hole it would draw a star of sectors. Source: Telea 2004;
    Bertalmio, Bertozzi and Sapiro 2001; the smooth fill is pull-push, Gortler et al., The Lumigraph, 1996.
    """
    if not hole.any():
        return rgb
    smooth = _pull_push(rgb.astype(np.float32), (~hole).astype(np.float32))
    depth = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Inpainting comes from both sides of this band; they meet in its middle, where it has faded out.
    band = (hole & (depth < 2 * rim_px)).astype(np.uint8)
    flag = cv2.INPAINT_TELEA if method == "telea" else cv2.INPAINT_NS
    sharp = cv2.inpaint(np.where(hole[..., None], _to_bytes(smooth), rgb), band, radius_px, flag)
    share = np.clip(depth / rim_px, 0.0, 1.0)[..., None]
    share = share * share * (3.0 - 2.0 * share)
    blended = _to_bytes(sharp + share * (smooth - sharp))
    return np.where(hole[..., None], blended, rgb)


def _pull_push(picture: FloatPicture, weight: npt.NDArray[np.float32]) -> FloatPicture:
    """Fills where `weight` (H, W) is 0 from ever coarser averages of what is known; weights are 0 to 1."""
    height, width = weight.shape
    if weight.min() >= 1.0 or max(height, width) == 1:
        return picture
    size = ((width + 1) // 2, (height + 1) // 2)
    small_weight = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(picture * weight[..., None], size, interpolation=cv2.INTER_AREA)
    small = small / np.maximum(small_weight, 1e-6)[..., None]
    coarse = _pull_push(small, np.minimum(1.0, 4.0 * small_weight))
    coarse = cv2.resize(
        cv2.GaussianBlur(coarse, (0, 0), 1.0), (width, height), interpolation=cv2.INTER_LINEAR
    )
    return coarse + weight[..., None] * (picture - coarse)


def _to_bytes(picture: FloatPicture) -> Rgb:
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)
