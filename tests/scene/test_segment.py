"""GrabCut on drawn pictures whose foreground is known, and the clean-up of masks."""

from __future__ import annotations

import numpy as np
import pytest

from i2v3d.errors import InputError
from i2v3d.scene.photo.grabcut import clean, grabcut, prompt_box
from i2v3d.scene.photo.salient import WIDE_BOX, automatic_box


def disc(height: int, width: int, radius: float, centre: tuple[float, float]) -> np.ndarray:
    y, x = np.mgrid[:height, :width] + 0.5
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2


def drawn(mask: np.ndarray) -> np.ndarray:
    """A reddish object on a greenish ground, both noisy."""
    noise = np.random.default_rng(3).normal(0, 12, (*mask.shape, 3))
    colours = np.where(mask[..., None], [190, 60, 50], [60, 120, 70])
    return np.clip(colours + noise, 0, 255).astype(np.uint8)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("box", [(0.2, 0.15, 0.75, 0.9), None], ids=["box", "no box"])
def test_grabcut_finds_a_drawn_object(box):
    truth = disc(160, 240, 50, (112, 84))
    assert iou(grabcut(drawn(truth), box, 5), truth) > 0.97


def test_grabcut_of_a_large_photo_keeps_its_size_and_shape():
    truth = disc(700, 1000, 220, (480, 350))
    mask = grabcut(drawn(truth), (0.2, 0.1, 0.75, 0.9), 1)
    assert mask.shape == truth.shape and mask.dtype == np.bool_
    assert iou(mask, truth) > 0.98


def test_grabcut_is_the_same_at_every_call():
    rgb = drawn(disc(120, 160, 40, (80, 60)))
    np.testing.assert_array_equal(grabcut(rgb, None, 3), grabcut(rgb, None, 3))


def test_nothing_outside_the_box_is_foreground():
    two = disc(160, 240, 30, (60, 80)) | disc(160, 240, 30, (180, 80))
    mask = grabcut(drawn(two), (0.05, 0.2, 0.48, 0.8), 5)
    assert not mask[:, 122:].any()
    assert iou(mask, disc(160, 240, 30, (60, 80))) > 0.95


def test_clean_drops_specks_and_fills_pinholes_but_keeps_real_parts():
    body = disc(200, 300, 60, (100, 100))
    arm = disc(200, 300, 30, (240, 100))
    gap = disc(200, 300, 25, (100, 100))
    speck, pinhole = disc(200, 300, 5, (290, 190)), disc(200, 300, 4, (100, 150))
    cleaned = clean(((body & ~gap) | arm | speck) & ~pinhole)
    assert not (cleaned & speck).any() and (cleaned & pinhole).sum() == pinhole.sum()
    assert iou(cleaned, (body & ~gap) | arm) > 0.98


def test_clean_of_nothing_is_nothing():
    assert not clean(np.zeros((20, 30), bool)).any()


# ---------------------------------------------------------------- points and the automatic box
def test_a_point_chooses_one_of_two_objects():
    left, right = disc(160, 240, 30, (70, 80)), disc(160, 240, 30, (170, 80))
    rgb = drawn(left | right)
    for one, other, x in ((left, right, 70 / 240), (right, left, 170 / 240)):
        mask = grabcut(rgb, (0.05, 0.1, 0.95, 0.9), 5, points=[(x, 0.5)])
        assert iou(mask, one) > 0.95 and not (mask & other).any()


def test_a_background_point_removes_what_it_is_on():
    body, twin = disc(160, 240, 40, (70, 80)), disc(160, 240, 40, (170, 80))
    rgb = drawn(body | twin)
    rgb[twin] = rgb[twin][:, ::-1]  # blue
    box = (0.05, 0.1, 0.95, 0.9)
    assert iou(grabcut(rgb, box, 5), body | twin) > 0.95
    without = grabcut(rgb, box, 5, background_points=[(170 / 240, 0.5)])
    assert iou(without, body) > 0.95


@pytest.mark.parametrize(
    ("box", "kind"), [((0.5, 0.5, 0.501, 0.501), "foreground"), ((0.2, 0.2, 0.22, 0.22), "foreground")]
)
def test_a_box_without_pixels_is_refused(box, kind):
    with pytest.raises(
        InputError, match=rf"leave \d pixels that may be {kind}, .* give a box that holds the object"
    ):
        grabcut(drawn(disc(160, 240, 40, (80, 80))), box, 3)


def test_points_alone_decide_where_everything_is_marked():
    everywhere = [(x / 20, y / 20) for x in range(21) for y in range(21)]
    with pytest.raises(InputError, match="may be foreground"):
        grabcut(
            drawn(disc(60, 90, 20, (40, 30))),
            (0.1, 0.1, 0.9, 0.9),
            3,
            background_points=everywhere * 2 + [(x / 60, y / 60) for x in range(61) for y in range(61)],
        )


def test_the_automatic_box_holds_the_object_and_little_else():
    truth = disc(160, 240, 40, (150, 100))
    box = automatic_box(drawn(truth))
    assert box[0] < 110 / 240 and box[2] > 190 / 240 and box[1] < 60 / 160 and box[3] > 140 / 160
    assert (box[2] - box[0]) * (box[3] - box[1]) < 2.2 * 80 * 80 / (160 * 240)
    assert iou(grabcut(drawn(truth), None, 5), truth) > 0.97
    assert automatic_box(drawn(truth)) == box


def test_without_any_hint_the_box_is_wide():
    assert automatic_box(np.full((60, 90, 3), 100, np.uint8)) == WIDE_BOX


def test_points_widen_the_automatic_box_but_not_the_users():
    rgb = drawn(disc(160, 240, 30, (150, 100)))
    assert prompt_box(rgb, None, [(0.02, 0.03)])[0] < 0.02
    assert prompt_box(rgb, (0.4, 0.4, 0.9, 0.9), [(0.02, 0.03)]) == (0.4, 0.4, 0.9, 0.9)
