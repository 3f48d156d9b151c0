"""The background plate: what the foreground hid is filled, and the frame's surroundings are made up."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from i2v3d.images import Mask, Rgb

Method = Literal["telea", "navier_stokes"]
BLUR_PER_PIXEL = 0.3  # standard deviation of the padding's blur per pixel of distance from the frame


def inpaint(rgb: Rgb, mask: Mask, method: Method, radius_px: float, dilate_px: int) -> Rgb:
    """Fills the mask, grown by `dilate_px`, of a picture (H, W, 3); other pixels stay as they are.

    The growth takes away the rim of blended pixels around the object, which would stay as a ghost outline.
    radius_px: how far OpenCV looks for colours. Source: Telea 2004; Bertalmio, Bertozzi and Sapiro 2001.
    """
    hole = mask.astype(np.uint8)
    if dilate_px:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * dilate_px + 1, 2 * dilate_px + 1))
        hole = cv2.dilate(hole, disc)
    flag = cv2.INPAINT_TELEA if method == "telea" else cv2.INPAINT_NS
    return cv2.inpaint(np.ascontiguousarray(rgb), hole, radius_px, flag)


def padding_px(width: int, height: int, pad: float) -> tuple[int, int]:
    """Margins (x, y) in whole pixels of a plate padded by `pad` of its size on each side."""
    return round(pad * width), round(pad * height)


def pad_plate(plate: Rgb, pad_x: int, pad_y: int) -> Rgb:
    """Extends a plate (H, W, 3) by its edge colours to (H + 2 pad_y, W + 2 pad_x, 3).

    The extension blurs with the distance from the frame, so edges neither streak nor repeat objects, as
    mirroring would; the frame itself stays as it is.
    """
    if pad_x == 0 and pad_y == 0:
        return plate
    extended = cv2.copyMakeBorder(plate, pad_y, pad_y, pad_x, pad_x, cv2.BORDER_REPLICATE)
    outside = np.ones(extended.shape[:2], np.uint8)
    height, width = plate.shape[:2]
    outside[pad_y : pad_y + height, pad_x : pad_x + width] = 0
    sigma = BLUR_PER_PIXEL * cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    blurred = _blur_by(extended.astype(np.float32), sigma)
    result = np.clip(np.round(blurred), 0, 255).astype(np.uint8)
    result[pad_y : pad_y + height, pad_x : pad_x + width] = plate
    return result


def _blur_by(picture: npt.NDArray[np.float32], sigma: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Gaussian blur whose standard deviation (H, W) varies, blended from blurs of doubling strength."""
    result = picture
    weaker, stronger = 0.0, 1.0
    while weaker < sigma.max():
        blurred = cv2.GaussianBlur(picture, (0, 0), stronger, borderType=cv2.BORDER_REPLICATE)
        share = np.clip((sigma - weaker) / (stronger - weaker), 0.0, 1.0)[..., None]
        result = result + share * (blurred - result)
        weaker, stronger = stronger, 2.0 * stronger
    return result
