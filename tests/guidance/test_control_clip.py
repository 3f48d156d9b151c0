"""The control clip's conventions, pinned: grey, polarity of mask and depth, positions, lengths, orientation."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from torch import Tensor

from i2v3d.artifacts.pictures import signed_pictures
from i2v3d.diffusion.depth import disparity_conditioning
from i2v3d.errors import ShapeError
from i2v3d.guidance.control_clip import Background, ControlClip, control_clip, pasted
from i2v3d.guidance.control_pictures import flow_pictures, grey_pictures, line_pictures

FRAMES, HEIGHT, WIDTH = 5, 4, 6
SIZE = (FRAMES, HEIGHT, WIDTH)


def picture(value: float) -> Tensor:
    return torch.full((3, HEIGHT, WIDTH), value)


def clip_of(value: float) -> Tensor:
    return torch.full((FRAMES, 3, HEIGHT, WIDTH), value)


def test_what_nobody_knows_is_exact_mid_grey_and_generated() -> None:
    clip = control_clip(SIZE, None, {})
    assert torch.equal(clip.video, torch.zeros(FRAMES, 3, HEIGHT, WIDTH))
    assert torch.equal(clip.mask, torch.ones(FRAMES, 1, HEIGHT, WIDTH))
    assert clip.reference is None


def test_both_ends_are_kept_with_mask_0_and_the_control_lies_between() -> None:
    clip = control_clip(SIZE, clip_of(0.25), {0: picture(-1.0), -1: picture(1.0)}, None, picture(0.5))
    assert clip.video[:, 0, 0, 0].tolist() == [-1.0, 0.25, 0.25, 0.25, 1.0]
    assert clip.mask[:, 0, 0, 0].tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]
    assert torch.equal(clip.reference, picture(0.5))


def test_two_frames_an_end_are_kept_where_the_neighbour_is_known() -> None:
    known = {0: picture(-1.0), 1: picture(-0.5), -2: picture(0.5), -1: picture(1.0)}
    clip = control_clip(SIZE, clip_of(0.25), known)
    assert clip.video[:, 2, 3, 5].tolist() == [-1.0, -0.5, 0.25, 0.5, 1.0]
    assert clip.mask[:, 0, 3, 5].tolist() == [0.0, 0.0, 1.0, 0.0, 0.0]


def test_known_background_is_kept_pixel_by_pixel_and_only_outside_kept_frames() -> None:
    known = torch.zeros(SIZE, dtype=torch.bool)
    known[:, :, 2:] = True
    clip = control_clip(SIZE, clip_of(0.25), {0: picture(1.0)}, Background(clip_of(-1.0), known))
    assert torch.equal(clip.video[0], picture(1.0))
    assert clip.video[1, 0, 0].tolist() == [0.25, 0.25, -1.0, -1.0, -1.0, -1.0]
    assert clip.mask[1, 0, 0].tolist() == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert float(clip.mask[0].sum()) == 0


def test_the_callers_control_is_left_alone() -> None:
    control = clip_of(0.25)
    control_clip(SIZE, control, {0: picture(1.0)})
    assert torch.equal(control, clip_of(0.25))


def test_rows_columns_and_channels_are_those_of_picture_files() -> None:
    """numpy is (row, column, channel), top first; the clip (channel, row, column): a transposed one fails the size."""
    rgb = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)
    rgb[0, 1, 4] = (255, 0, 51)
    clip = control_clip(SIZE, None, {2: signed_pictures(rgb)[0]})
    torch.testing.assert_close(clip.video[2, :, 1, 4], torch.tensor([1.0, -1.0, -0.6]))
    with pytest.raises(ShapeError, match="known picture at 0"):
        control_clip(SIZE, None, {0: picture(0.0).transpose(1, 2)})


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda: control_clip(SIZE, clip_of(0.0)[:4], {}), r"control is \(4, 3, 4, 6\)"),
        (lambda: control_clip(SIZE, None, {5: picture(0.0)}), "known picture at 5"),
        (lambda: control_clip(SIZE, None, {-6: picture(0.0)}), "known picture at -6"),
        (lambda: control_clip(SIZE, None, {}, None, picture(0.0)[:, :2]), "the reference is"),
        (
            lambda: control_clip(
                SIZE, None, {}, Background(clip_of(0.0), torch.ones(4, HEIGHT, WIDTH).bool())
            ),
            "the background is",
        ),
        (lambda: ControlClip(clip_of(0.0), torch.ones(4, 1, HEIGHT, WIDTH), None), "of the same frames"),
        (lambda: ControlClip(clip_of(0.0), torch.full((5, 1, 4, 6), 0.5), None), "other values than 0"),
        (lambda: ControlClip(clip_of(1.5), torch.ones(5, 1, 4, 6), None), "leaves"),
    ],
)
def test_what_does_not_fit_is_refused(build: object, told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        build()


def test_near_is_white_in_one_range_for_the_shot() -> None:
    depth = torch.tensor([1.0, 2.0, 4.0, float("inf")]).expand(1, 1, -1)
    both = torch.cat([depth, 2 * depth])  # the same things, twice as far
    told = 2 * disparity_conditioning(both, "shot", (1.0, 8.0)) - 1
    assert told[0, 0, 0] == 1 and told[0, 0, 3] == -1
    assert told[0, 0].tolist() == sorted(told[0, 0].tolist(), reverse=True)
    torch.testing.assert_close(told[1, 0, 0], told[0, 0, 1])  # 2 m look the same in both frames


def test_known_pixels_are_put_back_and_generated_ones_stay() -> None:
    known = torch.zeros(SIZE, dtype=torch.bool)
    known[:, :, 2:] = True
    clip = control_clip(SIZE, None, {0: picture(1.0)}, Background(clip_of(-1.0), known))
    made = clip_of(0.125)
    every, whole = (pasted(made, clip, whole_frames_only) for whole_frames_only in (False, True))
    assert torch.equal(every[0], picture(1.0)) and torch.equal(whole[0], picture(1.0))
    assert every[1, 0, 0].tolist() == [0.125, 0.125, -1.0, -1.0, -1.0, -1.0]
    assert torch.equal(whole[1:], made[1:])


def test_grey_has_the_brightness_of_the_colours() -> None:
    colours = torch.tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0], [1.0, 1.0, 1.0]])
    grey = grey_pictures(colours[:, :, None, None])
    torch.testing.assert_close(grey[:, 0, 0, 0], 2 * torch.tensor([0.299, 0.587, 0.114, 1.0]) - 1)
    assert torch.equal(grey[:, 0], grey[:, 2])


def test_lines_are_dark_on_white_at_steps_of_depth_and_silhouettes() -> None:
    disparity = torch.zeros(1, 9, 12)
    disparity[:, :, 6:] = 0.5
    foreground = torch.zeros(1, 9, 12, dtype=torch.bool)
    lines = line_pictures(disparity, foreground)
    assert lines.shape == (1, 3, 9, 12)
    assert torch.equal(lines[0, 0, 4] < 0, (torch.arange(12) - 5).abs() <= 1)
    assert set(lines.unique().tolist()) == {-1.0, 1.0}
    foreground[:, 7:] = True
    assert bool((line_pictures(torch.zeros(1, 9, 12), foreground)[0, 0, 6] == -1).all())
    assert bool((line_pictures(torch.zeros(1, 9, 12), foreground.logical_not())[0, 0, :4] == 1).all())


def test_flow_is_white_where_nothing_moves_and_its_hue_is_the_direction() -> None:
    flow = torch.tensor([[0.0, 0.0], [2.0, 0.0], [-2.0, 0.0], [0.0, 2.0], [1.0, 0.0]])[:, None, None]
    colours = (flow_pictures(flow, 2.0)[:, :, 0, 0] + 1) / 2
    torch.testing.assert_close(colours[0], torch.ones(3))
    hues = [colorsys.rgb_to_hsv(*colour.tolist()) for colour in colours]
    # Middlebury: right is red, left cyan, down yellow.
    assert hues[1][0] < 0.04 or hues[1][0] > 0.96
    assert abs(hues[2][0] - 0.5) < 0.06
    assert 0.1 < hues[3][0] < 0.2
    assert hues[1][1] == pytest.approx(1, abs=0.02) and hues[4][1] == pytest.approx(0.5, abs=0.02)
