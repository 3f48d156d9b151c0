"""Where the object of a photo probably is, when the user gives no hint: a box around what unlike the border is."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from i2v3d.images import Rgb

Box = tuple[float, float, float, float]

# Without a hint from the colours: most of the photo, down to its lower edge, which often cuts what stands there.
WIDE_BOX: Box = (0.05, 0.03, 0.95, 1.0)
WORKING_SIDE_PX = 192
BORDER = 0.06  # of the size: what is taken for background, at the left, the right and the top
COLOURS = 6  # clusters of the border
MARGIN = 0.04  # of the photo's size, around what was found
SENSIBLE_SHARE = (0.02, 0.7)  # of the photo's area that an object may cover


def automatic_box(rgb: Rgb) -> Box:
    """A box (left, top, right, bottom; fractions) around the object of a photo (H, W, 3), the same at every call.

    The border's colours are clustered; each pixel's distance to the nearest cluster, in its standard
    deviations and weighed towards the photo's centre, is split by Otsu's threshold, and the box holds the
    largest blob. `WIDE_BOX` if that blob is implausibly small or large.
    """
    height, width = rgb.shape[:2]
    scale = min(1.0, WORKING_SIDE_PX / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    lab = cv2.cvtColor(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
    lab = cv2.GaussianBlur(lab.astype(np.float32), (0, 0), 1.5)
    unlike = np.minimum(_distance_to_border(lab), 12.0) * _centre_weight(size)
    levels = np.clip(255 * unlike / max(float(unlike.max()), 1e-6), 0, 255).astype(np.uint8)
    _, binary = cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    binary = cv2.morphologyEx(binary, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(binary, connectivity=4)
    if len(stats) < 2:
        return WIDE_BOX
    left, top, wide, high, area = (
        int(value) for value in stats[1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())]
    )
    if not SENSIBLE_SHARE[0] <= area / binary.size <= SENSIBLE_SHARE[1]:
        return WIDE_BOX
    return (
        max(0.0, left / size[0] - MARGIN),
        max(0.0, top / size[1] - MARGIN),
        min(1.0, (left + wide) / size[0] + MARGIN),
        min(1.0, (top + high) / size[1] + MARGIN),
    )


def _distance_to_border(lab: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """(h, w): Mahalanobis distance of each pixel to the nearest cluster of the border's colours."""
    height, width = lab.shape[:2]
    rows, columns = max(1, round(BORDER * height)), max(1, round(BORDER * width))
    border = np.concatenate(
        [part.reshape(-1, 3) for part in (lab[:rows], lab[rows:, :columns], lab[rows:, -columns:])]
    )
    cv2.setRNGSeed(0)  # k-means draws from a generator that all of OpenCV shares
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 30, 0.1)
    count = min(COLOURS, len(border))
    _, labels, centres = cv2.kmeans(border, count, None, stop, 3, cv2.KMEANS_PP_CENTERS)
    nearest = np.full((height, width), np.inf)
    for number, centre in enumerate(centres):
        members = border[labels.ravel() == number]
        spread = np.cov(members.T) if len(members) > 3 else np.zeros((3, 3))
        inverse = np.linalg.inv(spread + 16.0 * np.eye(3))  # no cluster is narrower than 4 levels
        away = (lab - centre).astype(np.float64)
        nearest = np.minimum(nearest, np.sqrt(np.einsum("hwi,ij,hwj->hw", away, inverse, away)))
    return nearest


def _centre_weight(size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """(h, w): 1 at the centre, about half at the middle of each side, less in the corners."""
    x, y = np.meshgrid(np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1]))
    return np.exp(-0.7 * (x**2 + y**2))
