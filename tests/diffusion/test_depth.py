"""Depth to conditioning: near is bright, one range for the whole shot."""

from __future__ import annotations

import math

import pytest
import torch

from i2v3d.diffusion.depth import disparity_conditioning
from i2v3d.errors import ShapeError


def test_near_is_one_far_is_zero_nothing_is_zero() -> None:
    depth = torch.tensor([[[1.0, 4.0, math.inf]]])
    assert disparity_conditioning(depth, "shot", (1.0, 4.0)).tolist() == [[[1.0, 0.0, 0.0]]]


def test_the_scale_is_linear_in_disparity() -> None:
    depth = torch.tensor([[[1.0, 1.6, 4.0]]])  # disparities 1, 0.625, 0.25: the middle one is half-way
    assert disparity_conditioning(depth, "shot", (1.0, 4.0))[0, 0, 1] == pytest.approx(0.5)


def test_a_still_object_keeps_its_brightness_only_with_the_range_of_the_shot() -> None:
    alone = torch.tensor([[2.0, 4.0]])
    with_something_near = torch.tensor([[2.0, 0.5]])
    depth = torch.stack([alone, with_something_near])
    shot = disparity_conditioning(depth, "shot", (0.5, 4.0))
    frame = disparity_conditioning(depth, "frame", (0.5, 4.0))
    assert shot[0, 0, 0] == shot[1, 0, 0]
    assert frame[0, 0, 0] == 1.0
    assert frame[1, 0, 0] == 0.0


def test_every_frame_spans_the_whole_scale_with_its_own_range() -> None:
    depth = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0)) + 0.5
    depth[:, 0, 0] = math.inf
    scaled = disparity_conditioning(depth, "frame", (1.0, 1.0))
    assert torch.equal(scaled.amax((1, 2)), torch.ones(3))
    assert torch.equal(scaled.amin((1, 2)), torch.zeros(3))


@pytest.mark.parametrize("mode", ["shot", "frame"])
def test_a_plane_facing_the_camera_and_an_empty_frame_are_finite(mode: str) -> None:
    depth = torch.full((2, 2, 2), 3.0)
    depth[1] = math.inf
    scaled = disparity_conditioning(depth, mode, (3.0, 3.0))
    assert torch.equal(scaled[0], torch.ones(2, 2))
    assert torch.equal(scaled[1], torch.zeros(2, 2))


def test_depth_beyond_the_range_is_clamped() -> None:
    depth = torch.tensor([[[0.5, 9.0]]])
    assert disparity_conditioning(depth, "shot", (1.0, 4.0)).tolist() == [[[1.0, 0.0]]]


@pytest.mark.parametrize(
    ("depth", "near_far"),
    [
        (torch.ones(2, 2), (1.0, 2.0)),
        (torch.zeros(1, 2, 2), (1.0, 2.0)),
        (torch.full((1, 2, 2), math.nan), (1.0, 2.0)),
        (torch.ones(1, 2, 2), (2.0, 1.0)),
        (torch.ones(1, 2, 2), (1.0, math.inf)),
    ],
    ids=["shape", "zero", "nan", "swapped", "infinite"],
)
def test_what_is_no_depth_is_refused(depth: torch.Tensor, near_far: tuple[float, float]) -> None:
    with pytest.raises(ShapeError, match="expected"):
        disparity_conditioning(depth, "shot", near_far)
