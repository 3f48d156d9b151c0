"""DPM-Solver++(2M) against exact flows and diffusers' own, and what it leaves to the first order."""

from __future__ import annotations

import functools
import math
from itertools import pairwise

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from i2v3d.diffusion import edm
from i2v3d.diffusion.ddim import DDIM
from i2v3d.diffusion.fusion import Blend, EarlyStop, ForwardOnly, Pass, reversed_weights, sample
from i2v3d.diffusion.guidance import Estimate
from i2v3d.diffusion.multistep import Multistep, SecondOrderPasses, extrapolation, second_order
from i2v3d.models.layout import DDIM_SCHEDULER, EDM_SCHEDULER

SPREAD, FRAMES = 0.5, 4
SIGMA_MAX = 80.0


@functools.cache
def schedule(steps: int) -> edm.EDMSchedule:
    return edm.EDMSchedule.from_config({**EDM_SCHEDULER, "sigma_max": SIGMA_MAX}, steps)


def ideal(x: Tensor, sigma: float, step: int) -> Tensor:
    """E[clean | x] for clean ~ N(0, s^2), whose flow keeps x / sqrt(s^2 + sigma^2)."""
    return x * (SPREAD**2 / (SPREAD**2 + sigma**2))


def deviation(sigma: float) -> float:
    return math.sqrt(SPREAD**2 + sigma**2)


def ratios(errors: list[float]) -> list[float]:
    return [coarse / fine for coarse, fine in pairwise(errors)]


def test_the_error_of_sampling_quarters_when_steps_double() -> None:
    x, truth = torch.ones(1, dtype=torch.float64), SPREAD / deviation(SIGMA_MAX)
    errors = []
    for steps in (40, 80, 160):
        sigmas = schedule(steps).sigmas
        errors.append(abs(float(_integrate(x, sigmas)) - truth) / truth)
    assert all(3.2 < ratio < 4.8 for ratio in ratios(errors)), errors


def _integrate(x: Tensor, sigmas: tuple[float, ...]) -> Tensor:
    """Euler's steps in double precision along extrapolated predictions."""
    denoise = second_order(ideal, sigmas)
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x = edm.euler_step(x, denoise(x, sigma, step), sigma, sigma_next)
    return x


def test_the_error_of_inversion_quarters_when_steps_double() -> None:
    errors = []
    for steps in (40, 80, 160):
        up = schedule(steps).ascending()
        truth = deviation(up[-1]) / deviation(up[0])
        errors.append(abs(float(_integrate(torch.ones(1, dtype=torch.float64), up)) - truth) / truth)
    assert all(3.2 < ratio < 4.8 for ratio in ratios(errors)), errors


def test_steps_are_those_of_diffusers_own_solver() -> None:
    """On the levels of DDIM's timesteps, where the scheduler's state has the variance of the data."""
    steps = 8
    sampler = DDIM.from_config(DDIM_SCHEDULER, steps)
    config = {**DDIM_SCHEDULER, "prediction_type": "sample"}
    solver = DPMSolverMultistepScheduler.from_config(config, solver_order=2, algorithm_type="dpmsolver++")
    solver.set_timesteps(timesteps=list(reversed(sampler.timesteps)))
    predictions = torch.randn(steps, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = found = torch.randn(2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    multistep = Multistep(sampler.sigmas)
    for step, level in enumerate(range(steps, 1, -1)):  # the last one ends at levels that differ
        expected = solver.step(predictions[step], solver.timesteps[step], expected).prev_sample
        clean = multistep(predictions[step], step)
        found = sampler.move(found, sampler.noise(found, clean, level), level, level - 1)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_first_and_the_last_step_and_those_behind_a_gap_are_of_first_order() -> None:
    sigmas = (8.0, 4.0, 2.0, 1.0, 0.0)
    assert extrapolation(8.0, 4.0, 2.0) == pytest.approx(0.5)
    assert extrapolation(2.0, 4.0, 8.0) == pytest.approx(0.5)  # upwards
    assert extrapolation(8.0, 4.0, 1.0) == pytest.approx(1.0)  # the step is twice as long as the one before
    multistep, one, two = Multistep(sigmas), torch.ones(1), torch.full((1,), 2.0)
    assert [float(multistep(clean, step)) for step, clean in ((0, one), (1, two), (3, one))] == [1, 2.5, 1]
    multistep = Multistep(sigmas)
    assert [float(multistep(clean, step)) for step, clean in ((2, one), (3, two))] == [1, 2]


def passes(x: Tensor, sigma: float, step: int, names: tuple[Pass, ...]) -> list[Estimate]:
    """Each pass is pulled towards numbers of its own, the more the less noise there is."""
    targets = {"forward": 1.0, "reversed": -2.0}
    clean = ideal(x, sigma, step)
    return [Estimate(clean, clean + targets[name] / (1 + sigma)) for name in names]


def test_a_blend_of_extrapolated_passes_is_the_extrapolated_blend() -> None:
    levels = schedule(6)
    weights = reversed_weights("linear", FRAMES, 1.0, torch.device("cpu"))
    rule = Blend(weights, cfg_plus_plus=False, distill=0.0, last=torch.zeros(1))
    start = SIGMA_MAX * torch.randn(FRAMES, 3, generator=torch.Generator().manual_seed(2))

    def blended(x: Tensor, sigma: float, step: int) -> Tensor:
        forward, backward = passes(x, sigma, step, ("forward", "reversed"))
        return torch.lerp(forward.guided, backward.guided, weights[:, None])

    found = sample(start, rule, SecondOrderPasses(passes, levels.sigmas), levels)
    expected = edm.sample(start, second_order(blended, levels.sigmas), levels)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, sample(start, rule, passes, levels), atol=1e-3)


def test_a_pass_goes_on_from_its_own_prediction_when_the_other_one_ends() -> None:
    levels, seen = schedule(4), []

    def noted(x: Tensor, sigma: float, step: int, names: tuple[Pass, ...]) -> list[Estimate]:
        found = passes(x, sigma, step, names)
        seen.append((names, found[0].guided))
        return found

    weights = reversed_weights("linear", FRAMES, 1.0, torch.device("cpu"))
    rule = EarlyStop(Blend(weights, False, 0.0, torch.zeros(1)), 0.5, ForwardOnly(False))
    along = SecondOrderPasses(noted, levels.sigmas)
    used: list[Tensor] = []

    def kept(x: Tensor, sigma: float, step: int, names: tuple[Pass, ...]) -> list[Estimate]:
        found = along(x, sigma, step, names)
        used.append(found[0].guided)
        return found

    sample(torch.ones(FRAMES, 1), rule, kept, levels)
    assert [names for names, _ in seen] == [("forward", "reversed")] * 2 + [("forward",)] * 2
    share = extrapolation(*levels.sigmas[1:4])
    torch.testing.assert_close(used[2], seen[2][1] + share * (seen[2][1] - seen[1][1]))
