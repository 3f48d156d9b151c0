"""How forward and reversed passes denoise a clip together: exact on Gaussian data, symmetric in time."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from i2v3d.diffusion import edm
from i2v3d.diffusion.fusion import (
    Blend,
    EarlyStop,
    ForwardOnly,
    Fusion,
    Pass,
    Repeated,
    ReplacedEnds,
    Sequential,
    Step,
    Weights,
    blend_frames,
    distilled,
    renoise,
    reversed_weights,
    sample,
)
from i2v3d.diffusion.guidance import Estimate
from i2v3d.errors import ShapeError
from i2v3d.models.layout import EDM_SCHEDULER

FRAMES, SPREAD = 5, 0.6
CPU = torch.device("cpu")


@functools.cache
def schedule(steps: int) -> edm.EDMSchedule:
    return edm.EDMSchedule.from_config(EDM_SCHEDULER, steps)


def ideal(x: Tensor, sigma: float, step: int, passes: tuple[Pass, ...]) -> list[Estimate]:
    """The ideal denoiser of data N(0, SPREAD^2), whichever end a pass starts from."""
    clean = SPREAD**2 / (SPREAD**2 + sigma**2) * x
    return [Estimate(clean, clean) for _ in passes]


def towards(targets: dict[Pass, Tensor], guidance: float = 1.5) -> Callable[..., list[Estimate]]:
    """Each pass is pulled towards a picture of its own; the reversed one sees latents last to first."""

    def predict(x: Tensor, sigma: float, step: int, passes: tuple[Pass, ...]) -> list[Estimate]:
        share = 1 / (1 + sigma**2)
        plain = share * x + 0.1 * torch.roll(x, 1, 0) * share
        guided = {name: plain + guidance * (1 - share) * targets[name] for name in passes}
        return [Estimate(plain, guided[name]) for name in passes]

    return predict


def seeded_noise(*shape: int) -> Callable[[int, int], Tensor]:
    def noise(step: int, repetition: int) -> Tensor:
        generator = torch.Generator().manual_seed(1000 * step + repetition + 7)
        return torch.randn(*shape, generator=generator, dtype=torch.float32)

    return noise


def rule(
    kind: str = "blend",
    *,
    weights: Weights = "linear",
    power: float = 2.0,
    plus: bool = False,
    consistency: bool = False,
    distill: float = 0.0,
    shape: tuple[int, ...] = (FRAMES, 3, 2, 2),
) -> Fusion:
    first, last = torch.full(shape[1:], -0.4), torch.full(shape[1:], 0.7)
    if kind == "sequential":
        return Sequential(plus, consistency, distill, first, last, seeded_noise(*shape))
    return Blend(reversed_weights(weights, shape[0], power, CPU), plus, distill, last)


def start(shape: tuple[int, ...] = (FRAMES, 3, 2, 2), sigma: float = 700.0) -> Tensor:
    return sigma * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def both_targets() -> dict[Pass, Tensor]:
    generator = torch.Generator().manual_seed(4)
    forward, backward = torch.randn(2, FRAMES, 3, 2, 2, generator=generator)
    return {"forward": forward, "reversed": backward}


# ---------------------------------------------------------------- weights
@pytest.mark.parametrize("kind", ["linear", "cosine", "power"])
def test_weights_belong_to_the_keyframes_at_the_ends_and_mirror(kind: Weights) -> None:
    weights = reversed_weights(kind, 9, 3.0, CPU)
    torch.testing.assert_close(weights[[0, 4, 8]], torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(weights, 1 - weights.flip(0))
    assert bool((weights[1:] > weights[:-1]).all())


def test_weights_are_what_their_formulas_say() -> None:
    torch.testing.assert_close(reversed_weights("linear", 5, 2.0, CPU), torch.tensor([0, 0.25, 0.5, 0.75, 1]))
    torch.testing.assert_close(
        reversed_weights("cosine", 5, 2.0, CPU)[1], torch.tensor((1 - math.sqrt(0.5)) / 2)
    )
    torch.testing.assert_close(reversed_weights("power", 5, 2.0, CPU)[1], torch.tensor(1 / 10))
    torch.testing.assert_close(
        reversed_weights("power", 5, 1.0, CPU), reversed_weights("linear", 5, 1.0, CPU)
    )


def test_shapes_that_differ_are_refused() -> None:
    forward, backward = torch.randn(2, 5, 3, 2, 2)
    weights = reversed_weights("linear", 5, 1.0, CPU)
    with pytest.raises(ShapeError, match="a weight for each frame"):
        blend_frames(forward, backward[:4], weights)
    with pytest.raises(ShapeError, match="a weight for each frame"):
        blend_frames(forward, backward, weights[:4])


# ---------------------------------------------------------------- exact on Gaussian data
@pytest.mark.parametrize("weights", ["linear", "cosine", "power"])
@pytest.mark.parametrize("plus", [False, True])
def test_a_blend_of_agreeing_passes_is_the_flow_itself(weights: Weights, plus: bool) -> None:
    levels = schedule(25)
    expected = edm.sample(
        start(), lambda x, sigma, step: ideal(x, sigma, step, ("forward",))[0].guided, levels
    )
    torch.testing.assert_close(sample(start(), rule(weights=weights, plus=plus), ideal, levels), expected)


def error_of_flow(steps: int) -> float:
    """Relative distance of the blended sample to the exact solution x s / sqrt(s^2 + sigma^2) of the flow."""
    exact = start() * SPREAD / math.sqrt(SPREAD**2 + 700.0**2)
    found = sample(start(), rule(), ideal, schedule(steps))
    return float((found - exact).norm() / exact.norm())


def test_a_blend_converges_to_the_exact_flow_with_the_order_of_euler() -> None:
    errors = [error_of_flow(steps) for steps in (100, 200, 400)]
    assert all(1.7 < first / second < 2.3 for first, second in pairwise(errors))
    assert errors[-1] < 0.05


def _variance(steps: int, half_steps: Callable[[int], int]) -> float:
    """Exact variance after Euler's steps of the ideal flow, each of them taken again after its noise came back."""
    levels = schedule(steps).sigmas
    variance = levels[0] ** 2
    for index, (sigma, sigma_next) in enumerate(pairwise(levels)):
        shrink = 1 + (sigma_next - sigma) * sigma / (SPREAD**2 + sigma**2)
        for _ in range(half_steps(index)):
            variance = shrink**2 * variance + sigma**2 - sigma_next**2
        variance *= shrink**2
    return variance


@pytest.mark.parametrize(
    ("kind", "times", "until"), [("sequential", 0, 0.0), ("blend", 2, 0.5), ("sequential", 1, 0.3)]
)
def test_noise_that_is_put_back_keeps_the_law_of_the_data(kind: str, times: int, until: float) -> None:
    shape, steps = (2, 3, 60, 60), 60
    fusion = rule(kind, shape=shape)

    def again(index: int) -> int:
        repeated = 1 + (times if index < until * steps else 0)
        return 2 * repeated - 1 if kind == "sequential" else repeated - 1

    if times:
        fusion = Repeated(fusion, times, until, lambda step, n: seeded_noise(*shape)(step, 50 + n))
    found = sample(start(shape), fusion, ideal, schedule(steps))
    deviation = math.sqrt(_variance(steps, again))
    assert abs(float(found.std()) / deviation - 1) < 4 / math.sqrt(2 * found.numel())
    assert (
        abs(
            _variance(1600, again if until == 0 else lambda index: again(index * steps // 1600)) ** 0.5
            / SPREAD
            - 1
        )
        < 0.02
    )


def test_noise_goes_back_to_the_level_it_came_from() -> None:
    at = Step(0, 10, sigma=3.0, sigma_next=2.0)
    noise = torch.randn(100_000, generator=torch.Generator().manual_seed(1))
    back = renoise(2.0 * torch.randn(100_000, generator=torch.Generator().manual_seed(2)), at, noise)
    assert abs(float(back.std()) - 3.0) < 0.03


# ---------------------------------------------------------------- symmetry in time
@pytest.mark.parametrize("weights", ["linear", "cosine", "power"])
@pytest.mark.parametrize("plus", [False, True])
def test_turning_time_round_turns_the_blended_clip_round(weights: Weights, plus: bool) -> None:
    targets = both_targets()
    turned: dict[Pass, Tensor] = {
        "forward": targets["reversed"].flip(0),
        "reversed": targets["forward"].flip(0),
    }

    def plain(targets: dict[Pass, Tensor]) -> Callable[..., list[Estimate]]:
        def predict(x: Tensor, sigma: float, step: int, passes: tuple[Pass, ...]) -> list[Estimate]:
            share = 1 / (1 + sigma**2)
            return [Estimate(share * x, share * x + (1 - share) * targets[name]) for name in passes]

        return predict

    fusion = rule(weights=weights, plus=plus)
    expected = sample(start(), fusion, plain(targets), schedule(10))
    found = sample(start().flip(0), fusion, plain(turned), schedule(10))
    torch.testing.assert_close(found.flip(0), expected)


# ---------------------------------------------------------------- what each option does
def test_each_end_of_a_blend_belongs_to_its_keyframe_and_the_middle_to_both() -> None:
    targets = both_targets()
    at = Step(0, 1, 1.0, 0.0)
    forward, backward = (
        p.guided for p in towards(targets)(start(sigma=1.0), 1.0, 0, ("forward", "reversed"))
    )
    fused = rule().advance(start(sigma=1.0), at, towards(targets))
    for frame, expected in {0: forward[0], 2: (forward[2] + backward[2]) / 2, -1: backward[-1]}.items():
        torch.testing.assert_close(fused[frame], expected)


def test_a_distilled_pass_moves_as_the_forward_one_and_ends_at_the_keyframe() -> None:
    forward = Estimate(*torch.randn(2, FRAMES, 3, 2, 2, generator=torch.Generator().manual_seed(3)))
    last = torch.full((3, 2, 2), 0.7)
    backward = distilled(forward, last)
    for found, given in ((backward.guided, forward.guided), (backward.unconditional, forward.unconditional)):
        torch.testing.assert_close(found[-1], last)
        torch.testing.assert_close(found.diff(dim=0), given.diff(dim=0))
    # The same, summed up from the last frame backwards as the paper writes it, in predicted noise.
    x, sigma = start(sigma=2.0), 2.0
    noise = (x - forward.guided) / sigma
    steps = noise.flip(0).diff(dim=0).cumsum(0)
    summed = torch.cat([((x[-1] - last) / sigma)[None], (x[-1] - last) / sigma + steps])
    torch.testing.assert_close(x - sigma * summed.flip(0), backward.guided)


def test_a_distilled_step_does_not_ask_for_the_reversed_pass() -> None:
    asked: list[tuple[Pass, ...]] = []

    def predict(x: Tensor, sigma: float, step: int, passes: tuple[Pass, ...]) -> list[Estimate]:
        asked.append(passes)
        return ideal(x, sigma, step, passes)

    sample(start(), rule(distill=0.5), predict, schedule(4))
    assert asked == [("forward",)] * 2 + [("forward", "reversed")] * 2
    asked.clear()
    sample(start(), rule("sequential", distill=0.5), predict, schedule(4))
    assert asked == [("forward",)] * 4 + [("forward",), ("reversed",)] * 2


def test_early_stop_leaves_the_rest_to_the_forward_pass() -> None:
    asked: list[tuple[Pass, ...]] = []

    def predict(x: Tensor, sigma: float, step: int, passes: tuple[Pass, ...]) -> list[Estimate]:
        asked.append(passes)
        return ideal(x, sigma, step, passes)

    for strength, blended in ((0.0, 0), (0.3, 3), (0.5, 5), (1.0, 10)):
        asked.clear()
        sample(start(), EarlyStop(rule(), strength, ForwardOnly(False)), predict, schedule(10))
        assert asked == [("forward", "reversed")] * blended + [("forward",)] * (10 - blended)


def test_replaced_ends_are_the_keyframes_and_the_rest_stays() -> None:
    first, last = torch.full((3, 2, 2), -0.4), torch.full((3, 2, 2), 0.7)
    predict = towards(both_targets())
    for fusion in (rule(), rule(plus=True), rule("sequential")):
        found = sample(start(), fusion, ReplacedEnds(predict, first, last), schedule(6))
        torch.testing.assert_close(found[0], first)
        torch.testing.assert_close(found[-1], last)
    once = ReplacedEnds(predict, first, None)(start(), 1.0, 0, ("forward",))[0].guided
    torch.testing.assert_close(once[1:], predict(start(), 1.0, 0, ("forward",))[0].guided[1:])


def test_data_consistency_gives_each_pass_the_keyframe_of_its_far_end() -> None:
    found = sample(start(), rule("sequential", consistency=True), towards(both_targets()), schedule(6))
    torch.testing.assert_close(found[0], torch.full((3, 2, 2), -0.4))  # the last half step is a reversed one
    assert (found[-1] - 0.7).abs().max() > 1e-2


def test_cfg_plus_plus_keeps_the_guidance_out_of_the_slope() -> None:
    x, at = start(sigma=2.0), Step(0, 1, 2.0, 1.0)
    (both,) = towards(both_targets())(x, 2.0, 0, ("forward",))
    found = ForwardOnly(True).advance(x, at, towards(both_targets()))
    torch.testing.assert_close(found, both.guided + 0.5 * (x - both.unconditional))


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": "cosine"},
        {"weights": "power"},
        {"plus": True},
        {"distill": 0.5},
        {"kind": "sequential"},
        {"kind": "sequential", "plus": True},
        {"kind": "sequential", "consistency": True},
        {"kind": "sequential", "distill": 0.5},
    ],
    ids=str,
)
def test_every_option_changes_the_clip(changes: dict[str, object]) -> None:
    predict, levels = towards(both_targets()), schedule(6)
    plain = sample(start(), rule(str(changes.get("kind", "blend"))), predict, levels)
    usual = plain if set(changes) != {"kind"} else sample(start(), rule(), predict, levels)
    assert not torch.allclose(sample(start(), rule(**changes), predict, levels), usual, atol=1e-3)  # type: ignore[arg-type]


def test_repeating_changes_the_clip_and_no_repetition_does_not() -> None:
    predict, levels, noise = towards(both_targets()), schedule(6), seeded_noise(FRAMES, 3, 2, 2)
    usual = sample(start(), rule(), predict, levels)
    assert torch.equal(sample(start(), Repeated(rule(), 0, 1.0, noise), predict, levels), usual)
    assert torch.equal(sample(start(), Repeated(rule(), 2, 0.0, noise), predict, levels), usual)
    assert not torch.allclose(
        sample(start(), Repeated(rule(), 2, 0.5, noise), predict, levels), usual, atol=1e-3
    )
