"""Masks at layer sizes."""

from __future__ import annotations

import pytest
import torch

from i2v3d.errors import ShapeError
from i2v3d.guidance.masks import LayerMask, nearest_resize


def test_nearest_resize_takes_the_top_left_pixel_of_each_cell() -> None:
    mask = torch.zeros(1, 8, 12, dtype=torch.bool)
    mask[0, 4, 6] = True  # the top-left pixel of cell (1, 1) of a 2 x 2 grid
    mask[0, 3, 11] = True  # no cell's top-left pixel
    expected = torch.tensor([[[False, False], [False, True]]])
    assert torch.equal(nearest_resize(mask, 2, 2), expected)


def test_halving_twice_is_quartering() -> None:
    mask = torch.rand(2, 32, 48, generator=torch.Generator().manual_seed(0)) > 0.5
    assert torch.equal(nearest_resize(nearest_resize(mask, 16, 24), 8, 12), nearest_resize(mask, 8, 12))


def test_sizes_that_do_not_divide_are_resized_too() -> None:
    mask = torch.zeros(1, 9, 5, dtype=torch.bool)
    mask[:, 4:] = True
    assert nearest_resize(mask, 2, 3).tolist() == [[[False] * 3, [True] * 3]]


def test_a_layer_mask_computes_each_size_once() -> None:
    mask = LayerMask(torch.ones(2, 8, 8, dtype=torch.bool))
    assert mask.at(4, 4) is mask.at(4, 4)
    assert mask.tokens(4, 2).shape == (2, 8)


def test_items_of_a_layer_mask_keep_their_order_and_their_sizes() -> None:
    full = torch.zeros(3, 2, 2, dtype=torch.bool)
    full[2] = True
    mask = LayerMask(full)
    chosen = mask.items((2, 0, 2))
    assert chosen.at(1, 1).flatten().tolist() == [True, False, True]
    assert mask.items((2, 0, 2)) is chosen


@pytest.mark.parametrize("bad", [torch.ones(2, 2, dtype=torch.bool), torch.ones(1, 2, 2)])
def test_a_layer_mask_of_other_shape_or_type_is_refused(bad: torch.Tensor) -> None:
    with pytest.raises(ShapeError, match=r"expected \(items, H, W\) bool"):
        LayerMask(bad)
