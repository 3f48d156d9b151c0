"""Which pixels of a photo are the foreground, by GrabCut from a box and points."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from i2v3d.errors import InputError
from i2v3d.images import Mask, Rgb
from i2v3d.scene.photo.salient import Box, automatic_box

Point = tuple[float, float]

POINT_RADIUS = 0.015  # of the longer side: how much around a point is taken for certain
WORKING_SIDE_PX = 512  # GrabCut gains nothing above this and its cost grows faster than the pixels
FEWEST_PIXELS = 10  # that the colours of foreground and background are learnt from
SMALLEST_BLOB = 0.05  # of the largest one: smaller ones are noise
LARGEST_HOLE = 0.04  # of the mask: larger ones, such as the gap under an arm, are real


def grabcut(
    rgb: Rgb,
    box: Box | None,
    iterations: int,
    points: Sequence[Point] = (),
    background_points: Sequence[Point] = (),
) -> Mask:
    """Foreground (H, W) bool of a photo (H, W, 3) by GrabCut, the same at every call.

    box: left, top, right, bottom, outside of which nothing is foreground; None: `prompt_box`. points: (x, y)
    that are foreground for certain, background_points: that are not. All are fractions of the photo. Blobs
    without any of the points are dropped if there are points, else those with a background point. Runs with
    the longer side at most 512 pixels and scales the mask back smoothly. Raises InputError if box and points
    leave no pixels for one of the two.
    Source: Rother, Kolmogorov and Blake, "GrabCut", 2004.
    """
    height, width = rgb.shape[:2]
    scale = min(1.0, WORKING_SIDE_PX / max(height, width))
    columns, rows = max(2, round(width * scale)), max(2, round(height * scale))
    bgr = cv2.cvtColor(cv2.resize(rgb, (columns, rows), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    labels = _prior(rows, columns, prompt_box(rgb, box, points))
    _mark(labels, background_points, cv2.GC_BGD)
    _mark(labels, points, cv2.GC_FGD)
    _require_both(labels)
    models = np.zeros((1, 65)), np.zeros((1, 65))  # colours of background and foreground
    cv2.setRNGSeed(0)  # its k-means draws from a generator that all of OpenCV shares
    cv2.grabCut(bgr, labels, None, *models, iterations, cv2.GC_INIT_WITH_MASK)
    mask = clean(_chosen((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD), points, background_points))
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0)
    return cv2.resize(soft, (width, height), interpolation=cv2.INTER_CUBIC) >= 0.5


def prompt_box(rgb: Rgb, box: Box | None, points: Sequence[Point]) -> Box:
    """The user's box, else the automatic one, grown so that it holds the user's points."""
    if box is not None:
        return box
    left, top, right, bottom = automatic_box(rgb)
    return (
        min([left, *(x - POINT_RADIUS for x, _ in points)], default=left),
        min([top, *(y - POINT_RADIUS for _, y in points)], default=top),
        max([right, *(x + POINT_RADIUS for x, _ in points)], default=right),
        max([bottom, *(y + POINT_RADIUS for _, y in points)], default=bottom),
    )


def clean(mask: Mask) -> Mask:
    """Smooths a mask's outline, drops specks and fills pinholes; blobs and holes of some size stay."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    smooth = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, disc)
    smooth = cv2.morphologyEx(smooth, cv2.MORPH_CLOSE, disc)
    areas, blobs = _areas(smooth)
    kept = (areas >= SMALLEST_BLOB * areas.max())[blobs] & (blobs > 0)
    hole_areas, holes = _areas((~kept).astype(np.uint8))
    pinholes = (hole_areas <= LARGEST_HOLE * kept.sum())[holes] & (holes > 0)
    return kept | pinholes


def _prior(rows: int, columns: int, box: Box) -> npt.NDArray[np.uint8]:
    """GrabCut's labels: background outside the box, probably foreground in the ellipse inscribed in it.

    The box's corners are probably background: few objects fill them, and saying so shows the background
    model what lies right beside the object.
    """
    left = max(0, min(round(box[0] * columns), columns - 1))
    top = max(0, min(round(box[1] * rows), rows - 1))
    right = max(left + 1, min(columns, round(box[2] * columns)))
    bottom = max(top + 1, min(rows, round(box[3] * rows)))
    y = np.linspace(-1, 1, bottom - top)[:, None]
    x = np.linspace(-1, 1, right - left)[None]
    labels = np.full((rows, columns), cv2.GC_BGD, np.uint8)
    labels[top:bottom, left:right] = np.where(x**2 + y**2 <= 1, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    return labels


def _require_both(labels: npt.NDArray[np.uint8]) -> None:
    """Raises InputError unless GrabCut has pixels of both kinds to learn their colours from."""
    foreground = int(np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).sum())
    for count, kind in ((foreground, "foreground"), (labels.size - foreground, "background")):
        if count < FEWEST_PIXELS:
            raise InputError(
                f"scene.segment: box and points leave {count} pixels that may be {kind}, expected {FEWEST_PIXELS} "
                f"at least of {labels.shape[1]}x{labels.shape[0]}; give a box that holds the object with some room"
            )


def _mark(labels: npt.NDArray[np.uint8], points: Sequence[Point], label: int) -> None:
    """Sets a disc of GrabCut's labels around each point."""
    rows, columns = labels.shape
    for x, y in points:
        centre = (min(columns - 1, int(x * columns)), min(rows - 1, int(y * rows)))
        cv2.circle(labels, centre, max(1, round(POINT_RADIUS * max(rows, columns))), label, -1)


def _chosen(mask: Mask, points: Sequence[Point], background_points: Sequence[Point]) -> Mask:
    """The blobs of a mask that hold one of `points` (all, if there are none) and no background point alone."""
    rows, columns = mask.shape
    marks = np.zeros(mask.shape, np.uint8)
    _mark(marks, background_points, 1)  # GrabCut left holes there
    _, blobs = _areas((mask | (marks > 0)).astype(np.uint8))

    def holding(some: Sequence[Point]) -> set[int]:
        return {int(blobs[min(rows - 1, int(y * rows)), min(columns - 1, int(x * columns))]) for x, y in some}

    wanted = holding(points) if points else set(np.unique(blobs).tolist()) - holding(background_points)
    return mask & np.isin(blobs, sorted(wanted - {0}))


def _areas(binary: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Pixels of each connected blob (index 0, the rest, counts 0) and the blob of each pixel."""
    _, blobs, stats, _ = cv2.connectedComponentsWithStats(binary, connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.int64)
    areas[0] = 0
    return areas, blobs
