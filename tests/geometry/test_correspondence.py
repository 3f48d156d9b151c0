"""Motion of surfaces through a clip: its reverse, and pictures carried along it."""

from __future__ import annotations

import pytest
import torch

from i2v3d.errors import ShapeError
from i2v3d.geometry.correspondence import Motion

HEIGHT, WIDTH, FRAMES = 12, 16, 4


def picture(seed: int = 1) -> torch.Tensor:
    return torch.randn(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def sliding(x: float, y: float = 0.0) -> Motion:
    """Everything moves by (x, y) pixels a frame; what leaves the frame is not seen in the next one."""
    flow = torch.tensor([float(x), float(y)]).expand(FRAMES - 1, HEIGHT, WIDTH, 2)
    columns, rows = torch.arange(WIDTH) + x, torch.arange(HEIGHT) + y
    inside = ((columns >= 0) & (columns <= WIDTH - 1))[None] & ((rows >= 0) & (rows <= HEIGHT - 1))[:, None]
    return Motion(flow.clone(), inside.expand(FRAMES - 1, -1, -1).clone())


def test_what_comes_into_view_is_not_shown_by_the_first_frame() -> None:
    shown = sliding(2).first_shows()
    assert shown.shape == (FRAMES, HEIGHT, WIDTH) and shown[0].all()
    for t in range(1, FRAMES):
        assert shown[t, :, 2 * t + 1 :].all() and not shown[t, :, : 2 * t - 1].any()
    # What is hidden on the way is not followed any further.
    motion = sliding(0)
    motion.seen[1, 3, 4] = False
    assert [bool(frame[3, 4]) for frame in motion.first_shows()] == [True, True] + [False] * (FRAMES - 2)


def test_a_picture_is_carried_back_along_the_motion() -> None:
    last = picture()
    carried = sliding(2).carried(last)
    for t in range(FRAMES):
        shift = 2 * (FRAMES - 1 - t)
        torch.testing.assert_close(carried[t, :, :, : WIDTH - shift], last[:, :, shift:], atol=1e-5, rtol=0)
        assert not carried[t, :, :, WIDTH - shift :].any(), "what leaves the frame has no counterpart"


def test_the_reverse_of_a_slide_slides_back() -> None:
    back = sliding(2, -1).reversed()
    assert back.flow_px[back.seen].unique(dim=0).tolist() == [[-2.0, 1.0]]
    assert back.seen[0].sum() == (WIDTH - 2) * (HEIGHT - 1), "what came into the frame was not seen before"


def test_forwards_and_backwards_a_smooth_picture_is_the_same_between_pixels() -> None:
    x = torch.arange(WIDTH) + 0.5
    ramp = x.expand(1, HEIGHT, WIDTH)
    carried = sliding(0.3).reversed().carried(ramp).flip(0)
    inner = slice(2, WIDTH - 2)
    for t in range(FRAMES):
        torch.testing.assert_close(carried[t, 0, 0, inner], (x - 0.3 * t)[inner], atol=1e-4, rtol=0)


def test_nearer_surfaces_hide_what_they_pass() -> None:
    """A square moves by 4 pixels over a still ground, of which it hides a part and bares another."""
    flow, seen = torch.zeros(1, HEIGHT, WIDTH, 2), torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool)
    flow[0, 4:8, 4:8, 0] = 4.0
    seen[0, 4:8, 8:12] = False  # the ground that the square will cover
    back = Motion(flow, seen).reversed()
    assert back.flow_px[0, 5, 9].tolist() == [-4.0, 0.0]
    assert back.seen[0, 5, 9] and not back.seen[0, 5, 5], "the bared ground was hidden before"
    last = picture()
    carried = Motion(flow, seen).carried(last)[0]
    torch.testing.assert_close(carried[:, 4:8, 4:8], last[:, 4:8, 8:12], atol=1e-5, rtol=0)
    assert not carried[:, 4:8, 8:12].any()


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(ShapeError, match="motion is of frames"):
        sliding(1).carried(torch.zeros(3, HEIGHT, WIDTH + 1))
