"""Several masks of one photo to choose from, where no weights and no hint say which is the object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from i2v3d.errors import InputError
from i2v3d.images import Mask, Rgb
from i2v3d.scene.photo.grabcut import grabcut
from i2v3d.scene.photo.mask_doubt import mask_doubt, outline_on_edges
from i2v3d.scene.photo.salient import WIDE_BOX, Box

COUNT = 3
ALIKE = 0.8  # intersection over union from which on two masks are one
ITERATIONS = 5  # of GrabCut
# Most of the photo, its middle, its halves and its lower and upper part.
BOXES: tuple[Box, ...] = (
    WIDE_BOX,
    (0.2, 0.15, 0.8, 0.97),
    (0.45, 0.1, 1.0, 1.0),
    (0.0, 0.1, 0.55, 1.0),
    (0.1, 0.4, 0.9, 1.0),
    (0.1, 0.0, 0.9, 0.6),
)


@dataclass(frozen=True)
class Candidate:
    """mask: (H, W). box: what `segment.box` gives it, None as it is by itself. doubt: see `mask_doubt`."""

    mask: Mask
    box: Box | None
    doubt: str | None


def mask_candidates(rgb: Rgb) -> list[Candidate]:
    """Up to `COUNT` different masks of a photo (H, W, 3): the automatic one first, then the likeliest others.

    Likelier are masks that nothing says to be the background, and whose outlines are edges of the picture.
    """
    chosen = [_candidate(rgb, grabcut(rgb, None, ITERATIONS), None)]
    others = sorted(
        _others(rgb), key=lambda other: (other.doubt is not None, -outline_on_edges(other.mask, rgb))
    )
    for other in others:
        if len(chosen) < COUNT and all(_overlap(other.mask, one.mask) < ALIKE for one in chosen):
            chosen.append(other)
    return chosen


def _others(rgb: Rgb) -> Iterator[Candidate]:
    for box in BOXES:
        try:
            mask = grabcut(rgb, box, ITERATIONS)
        except InputError:
            continue  # a photo too small for that box
        if mask.any() and not mask.all():
            yield _candidate(rgb, mask, box)


def _candidate(rgb: Rgb, mask: Mask, box: Box | None) -> Candidate:
    return Candidate(mask, box, mask_doubt("grabcut", mask, rgb))


def _overlap(one: Mask, other: Mask) -> float:
    union = int((one | other).sum())
    return float((one & other).sum()) / union if union else 1.0
