"""How forward and reversed predictions become one."""

from __future__ import annotations

import pytest
import torch

from i2v3d.diffusion.fusion import ForwardOnly, LinearFusion, blend_frames, fusion_rule, linear_weights
from i2v3d.errors import ShapeError


def predictions(frames: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    forward, backward = torch.randn(2, frames, 3, 2, 2, generator=generator)
    return forward, backward


def test_each_end_belongs_to_its_keyframe_and_the_middle_to_both() -> None:
    forward, backward = predictions()
    fused = LinearFusion(1.0)(forward, backward)
    torch.testing.assert_close(fused[0], forward[0])
    torch.testing.assert_close(fused[-1], backward[-1])
    torch.testing.assert_close(fused[2], (forward[2] + backward[2]) / 2)


def test_equal_predictions_stay() -> None:
    forward, _ = predictions()
    torch.testing.assert_close(LinearFusion(1.0)(forward, forward), forward)


def test_time_reversal_swaps_the_predictions() -> None:
    forward, backward = predictions()
    rule = LinearFusion(1.0)
    torch.testing.assert_close(rule(backward.flip(0), forward.flip(0)).flip(0), rule(forward, backward))


def test_linear_weights_rise_evenly() -> None:
    torch.testing.assert_close(linear_weights(5, torch.device("cpu")), torch.tensor([0, 0.25, 0.5, 0.75, 1]))


@pytest.mark.parametrize(("strength", "blended"), [(0.0, 0), (0.3, 3), (0.5, 5), (1.0, 10)])
def test_strength_is_the_fraction_of_steps_that_need_the_reversed_pass(strength: float, blended: int) -> None:
    rule = fusion_rule("both", strength)
    assert [rule.needs_reversed(step, 10) for step in range(10)] == [True] * blended + [False] * (
        10 - blended
    )


def test_forward_only_never_needs_the_reversed_pass() -> None:
    rule = fusion_rule("forward", 1.0)
    forward, backward = predictions()
    assert isinstance(rule, ForwardOnly)
    assert not any(rule.needs_reversed(step, 10) for step in range(10))
    assert torch.equal(rule(forward, backward), forward)


def test_shapes_that_differ_are_refused() -> None:
    forward, backward = predictions()
    weights = linear_weights(5, torch.device("cpu"))
    with pytest.raises(ShapeError, match="a weight for each frame"):
        blend_frames(forward, backward[:4], weights)
    with pytest.raises(ShapeError, match="a weight for each frame"):
        blend_frames(forward, backward, weights[:4])
