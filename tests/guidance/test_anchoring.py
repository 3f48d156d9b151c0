"""Anchoring of a segment's frames to the pictures at its ends."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from i2v3d.geometry.correspondence import Motion
from i2v3d.guidance.anchoring import (
    Drift,
    anchor_colour,
    anchor_detail,
    with_render_colour,
    with_render_detail,
)


def picture(seed: int) -> torch.Tensor:
    """(3, 16, 24) in about [-0.6, 0.6]."""
    return 0.2 * torch.randn(3, 16, 24, generator=torch.Generator().manual_seed(seed)).clamp(-3, 3)


def as_frames(pictures: list[torch.Tensor]) -> torch.Tensor:
    return ((torch.stack(pictures) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def statistics(frame: torch.Tensor) -> torch.Tensor:
    signed = frame.float() / 127.5 - 1
    return torch.stack([signed.mean((1, 2)), signed.std((1, 2))])


def test_the_ends_take_the_statistics_of_their_pictures() -> None:
    ends = [picture(1), 0.5 * picture(2) + torch.tensor([0.2, 0.0, -0.3])[:, None, None]]
    anchored = anchor_colour(as_frames([0.8 * picture(n) + 0.1 for n in range(4)]), ends)
    for frame, end in ((anchored[0], ends[0]), (anchored[-1], ends[1])):
        wanted = torch.stack([end.mean((1, 2)), end.std((1, 2))])
        torch.testing.assert_close(statistics(frame), wanted, atol=3e-3, rtol=0)


def test_a_drift_that_grows_evenly_is_undone_everywhere() -> None:
    true = picture(1)
    drifted = [(1 + 0.1 * j) * true + 0.05 * j for j in range(5)]
    anchored = anchor_colour(as_frames(drifted), [true, true])
    before = (as_frames(drifted).float() - as_frames([true]).float()).abs().mean((1, 2, 3))
    after = (anchored.float() - as_frames([true]).float()).abs().mean((1, 2, 3))
    assert (after[[0, -1]] < 0.6).all()
    assert (after[1:] < before[1:] / 4).all()


def test_frames_that_have_the_colours_already_stay() -> None:
    frames = as_frames([picture(n) for n in range(3)])
    ends = [frames[0].float() / 127.5 - 1, frames[-1].float() / 127.5 - 1]
    assert torch.equal(anchor_colour(frames, ends), frames)


def test_one_picture_gives_all_frames_one_correction() -> None:
    true = picture(1)
    anchored = anchor_colour(as_frames([0.5 * true + 0.1] * 3), [true])
    assert torch.equal(anchored[0], anchored[2])
    assert (anchored[0].float() - as_frames([true])[0].float()).abs().max() <= 2


def test_a_flat_frame_takes_the_mean_and_keeps_its_contrast() -> None:
    flat = as_frames([torch.zeros(3, 16, 24)] * 2)
    anchored = anchor_colour(flat, [picture(1) + 0.3])
    assert anchored.float().std() < 3
    assert abs(float(anchored.float().mean()) / 127.5 - 1 - 0.3) < 0.05


def still(frames: int) -> Motion:
    return Motion(torch.zeros(frames - 1, 16, 24, 2), torch.ones(frames - 1, 16, 24, dtype=torch.bool))


def sliding(frames: int, pixels: int) -> Motion:
    motion = still(frames)
    motion.flow_px[..., 0] = pixels
    motion.seen[:, :, 24 - pixels :] = False
    return motion


def blurred(frame: torch.Tensor) -> torch.Tensor:
    return functional.avg_pool2d(frame[None], 3, 1, 1, count_include_pad=False)[0]


def two_ends() -> list[torch.Tensor]:
    return [as_frames([picture(n)])[0] / 127.5 - 1 for n in (1, 2)]


def test_end_frames_become_their_pictures() -> None:
    ends = two_ends()
    anchored = anchor_detail(as_frames([picture(n) for n in range(5, 9)]), ends, sliding(4, 2), None)
    assert torch.equal(anchored[0], as_frames(ends[:1])[0])
    assert torch.equal(anchored[-1], as_frames(ends[1:])[0])


LEFT = torch.zeros(16, 24, dtype=torch.bool)
LEFT[:, :12] = True


def test_a_drifted_last_frame_takes_over_a_share_of_its_keyframe() -> None:
    ends, frames = two_ends(), as_frames([picture(n) for n in range(5, 9)])
    alone = anchor_detail(frames, ends[:1], still(4), None)
    unknown = anchor_detail(frames, ends, still(4), Drift(LEFT, on_object=0, elsewhere=0, segments=3))
    assert torch.equal(unknown, alone)
    shared = anchor_detail(frames, ends, still(4), Drift(LEFT, on_object=0.06, elsewhere=0, segments=1))
    assert torch.equal(shared[..., 12:], alone[..., 12:]) and torch.equal(shared[0], alone[0])
    last, keyframe = frames[-1, ..., :12].float(), as_frames(ends[1:])[0, ..., :12].float()
    share = 0.06**2 / float(((last - keyframe) / 255).square().mean())
    assert 0.1 < share < 1 / 3
    assert float((shared[-1, ..., :12].float() - torch.lerp(last, keyframe, share)).abs().max()) <= 0.5 + 1e-3


def test_the_share_is_the_one_that_makes_the_mixture_truest() -> None:
    noise = torch.randn(10, 3, 128, 192, generator=torch.Generator().manual_seed(0))
    added, of_keyframe = 0.05, 0.1
    everywhere = torch.ones(128, 192, dtype=torch.bool)
    frame, mixed, best = (
        torch.zeros(3, 128, 192),
        [],
        0.0,
    )  # the truth is 0; the best error, squared, that there is
    for segment in range(5):
        frame = frame + 2 * added * noise[2 * segment]
        keyframe = 2 * of_keyframe * noise[2 * segment + 1]
        drift = Drift(everywhere, on_object=added, elsewhere=0, segments=segment + 1)
        frame = torch.lerp(frame, keyframe, drift.share(keyframe - frame))
        best = 1 / (1 / (best + added**2) + 1 / of_keyframe**2)
        mixed.append(float((frame / 2).square().mean()) / best)
    assert 0.99 < mixed[0] < 1.01  # one segment: exactly Kalman's gain
    assert max(mixed) < 1.05 and best < 0.7 * of_keyframe**2


@pytest.mark.parametrize("apart", [0.0, 1e-3, 0.03, 0.1, 1.0])
def test_the_frame_keeps_at_least_half_however_close_its_keyframe_is(apart: float) -> None:
    share = Drift(LEFT, on_object=0.05, elsewhere=0, segments=9).share(torch.full((3, 16, 24), 2 * apart))
    assert bool((share[LEFT] <= 0.5).all()) and not share[~LEFT].any()
    assert bool(share.any()) == (apart > 0)


def test_lost_detail_comes_back_where_nothing_moves() -> None:
    true = picture(1)
    anchored = anchor_detail(as_frames([blurred(true)] * 5), [true, true], still(5), None)
    assert (anchored.float() - as_frames([true]).float()).abs().max() <= 1


def test_one_picture_counts_less_towards_the_other_end() -> None:
    true = picture(1)
    anchored = anchor_detail(as_frames([blurred(true)] * 5), [true], still(5), None).float()
    errors = (anchored - as_frames([true]).float()).abs().mean((1, 2, 3))
    lost = float((as_frames([blurred(true)]).float() - as_frames([true]).float()).abs().mean())
    torch.testing.assert_close(errors / lost, torch.linspace(0, 1, 5), atol=0.03, rtol=0)


def test_detail_moves_with_the_surfaces() -> None:
    wide = torch.cat([picture(1), picture(2)], dim=2)
    true = [wide[:, :, 12 - 2 * t : 36 - 2 * t] for t in range(5)]  # slides right by 2 pixels a frame
    frames, ends = as_frames([blurred(frame) for frame in true]), [true[0], true[-1]]

    def error(made: torch.Tensor) -> float:
        return float(
            (made[2, :, 1:-1, 9:15].float() - as_frames(true)[2, :, 1:-1, 9:15].float()).abs().mean()
        )

    assert error(anchor_detail(frames, ends, sliding(5, 2), None)) < 0.05 * error(frames)
    assert error(anchor_detail(frames, ends, still(5), None)) > 0.5 * error(frames)


def test_between_two_pictures_half_of_what_networks_change_along_a_surface_stays() -> None:
    """A frame between flickers by 0.2; the ends do not. Light that changes evenly from end to end stays whole."""
    true = [picture(1) + 0.1 * t for t in range(5)]
    flicker = [*true[:2], true[2] + 0.2, *true[3:]]
    anchored = anchor_detail(as_frames(flicker), [true[0], true[-1]], still(5), None).float()
    off = (anchored - as_frames(true).float()).mean((1, 2, 3)) / 127.5
    torch.testing.assert_close(off, torch.tensor([0.0, 0.0, 0.1, 0.0, 0.0]), atol=4e-3, rtol=0)


def test_what_neither_picture_shows_stays_as_decoded() -> None:
    frames, motion = as_frames([picture(n) for n in range(5, 10)]), sliding(5, 2)
    for step in (1, 2):  # the left half of frame 3 is new and does not stay
        motion.seen[step, :, :12] = False
    anchored = anchor_detail(frames, two_ends(), motion, None)
    hidden = anchored[2, ..., :12]
    assert torch.equal(hidden[..., :11], frames[2, ..., :11]) and not torch.equal(anchored[2], frames[2])


def test_frames_take_over_what_the_autoencoder_loses_of_their_renders() -> None:
    """Frame and render share their pattern, and the autoencoder blurs both."""
    pattern = picture(3)
    true, render = as_frames([0.8 * pattern + 0.1]), as_frames([pattern])
    soft, decoded = as_frames([blurred(0.8 * pattern + 0.1)]), as_frames([blurred(pattern)])
    visible = torch.zeros(1, 16, 24, dtype=torch.bool)
    visible[..., :12] = True
    made = with_render_detail(soft, render, decoded, visible, 0.8)

    def error(frames: torch.Tensor) -> torch.Tensor:
        return (frames.float() - true.float()).abs().mean((0, 1, 2))

    assert error(made)[:12].max() < 1.5 < 4 < error(soft).mean(), "the same pattern with 0.8 of the contrast"
    assert torch.equal(made[..., 12:], soft[..., 12:]), "where nothing is seen nothing is known"
    assert torch.equal(with_render_detail(soft, render, decoded, visible, 0.0), soft)


def test_colours_go_to_the_renders_and_detail_stays() -> None:
    """Object and ground have drifted apart, and the networks have added a fine pattern that the render lacks."""
    height, width = 64, 96
    foreground, visible = torch.zeros(1, height, width, dtype=torch.bool), torch.ones(1, height, width).bool()
    foreground[:, 20:50, 30:70], visible[:, :10] = True, False
    ramp = torch.linspace(90, 130, width).expand(1, 3, height, width)
    render = torch.where(foreground[:, None], ramp + 30, ramp)
    checks = 6.0 * (-1) ** (torch.arange(height)[:, None] + torch.arange(width))
    drift = torch.where(foreground[:, None], -25.0, 40.0)
    frames, wanted = (render + checks + drift).to(torch.uint8), render + checks
    made = with_render_colour(frames, render.to(torch.uint8), foreground, visible, 1.0)
    seen = visible[:, None].expand(made.shape)
    assert (made.float() - wanted)[seen].abs().max() < 3, "each with its own drift undone, up to its edge"
    assert torch.equal(made[~seen], frames[~seen]), "where nothing is seen nothing is known"
    half = with_render_colour(frames, render.to(torch.uint8), foreground, visible, 0.5)
    assert (half.float() - wanted - drift / 2)[seen].abs().max() < 3
    assert torch.equal(with_render_colour(frames, render.to(torch.uint8), foreground, visible, 0.0), frames)
