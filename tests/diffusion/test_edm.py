"""EDM against exact solutions: Gaussian data, whose ideal denoiser is known."""

from __future__ import annotations

import functools
import itertools
import math

import pytest
import torch

from i2v3d.diffusion import edm
from i2v3d.errors import ShapeError, WeightsError
from i2v3d.models.layout import EDM_SCHEDULER

SPREAD = 0.5  # standard deviation s of the data


@functools.cache
def schedule(steps: int, sigma_max: float = 80.0) -> edm.EDMSchedule:
    return edm.EDMSchedule.from_config({**EDM_SCHEDULER, "sigma_max": sigma_max}, steps)


def ideal(x: torch.Tensor, sigma: float, step: int) -> torch.Tensor:
    """E[clean | x] for clean ~ N(0, s^2)."""
    return x * (SPREAD**2 / (SPREAD**2 + sigma**2))


def exact(x: torch.Tensor, sigma: float, sigma_next: float) -> torch.Tensor:
    """The probability flow of Gaussian data keeps x / sqrt(s^2 + sigma^2)."""
    return x * math.sqrt((SPREAD**2 + sigma_next**2) / (SPREAD**2 + sigma**2))


def relative(value: torch.Tensor, truth: torch.Tensor) -> float:
    return float((value - truth).norm() / truth.norm())


def test_noise_levels_follow_karras() -> None:
    levels = schedule(25, sigma_max=700.0)
    ends = (0.002 ** (1 / 7), 700.0 ** (1 / 7))
    expected = [(ends[1] + i / 24 * (ends[0] - ends[1])) ** 7 for i in range(25)]
    assert levels.steps == 25
    assert levels.sigmas[:-1] == pytest.approx(expected, rel=1e-5)
    assert levels.sigmas[-1] == 0
    assert levels.start_sigma == pytest.approx(math.sqrt(700.0**2 + 1))


def test_the_inversion_starts_above_zero_and_meets_every_level() -> None:
    levels = schedule(10)
    up = levels.ascending()
    assert up[0] == pytest.approx(up[1] ** 2 / up[2])
    assert up[1:] == tuple(reversed(levels.sigmas[:-1]))
    assert all(math.isfinite(edm.timestep(sigma)) for sigma in up)


def test_the_true_velocity_gives_the_clean_latents() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    for sigma in (0.01, 1.0, 50.0):
        x = clean + sigma * noise
        alpha, beta = 1 / math.sqrt(1 + sigma**2), sigma / math.sqrt(1 + sigma**2)
        velocity = alpha * noise - beta * clean
        torch.testing.assert_close(edm.denoised_from_velocity(velocity, x, sigma), clean)
        torch.testing.assert_close(edm.scaled_input(x, sigma), alpha * clean + beta * noise)


def test_sampling_error_halves_when_steps_double() -> None:
    start = torch.linspace(-80, 80, 64)
    truth = exact(start, 80.0, 0.0)
    errors = [relative(edm.sample(start, ideal, schedule(steps)), truth) for steps in (40, 80, 160, 320)]
    ratios = [coarse / fine for coarse, fine in itertools.pairwise(errors)]
    assert all(1.8 < ratio < 2.2 for ratio in ratios), ratios


def test_inversion_error_halves_when_steps_double() -> None:
    clean = torch.linspace(-1, 1, 64)
    errors = []
    for steps in (40, 80, 160, 320):
        levels = schedule(steps)
        errors.append(relative(edm.invert(clean, ideal, levels)[-1], exact(clean, 0.0, levels.sigma_max)))
    ratios = [coarse / fine for coarse, fine in itertools.pairwise(errors)]
    assert all(1.8 < ratio < 2.2 for ratio in ratios), ratios


def test_invert_then_sample_returns_the_input() -> None:
    clean = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    errors = []
    for steps in (50, 200, 800):
        levels = schedule(steps)
        inverted = edm.invert(clean, ideal, levels)
        errors.append(relative(edm.sample(inverted[-1], ideal, levels), clean))
    assert errors[2] < 0.01
    assert errors[0] > errors[1] > errors[2]


def test_inverted_latents_lie_at_the_levels_that_sampling_starts_from() -> None:
    clean = torch.ones(2, 2)
    levels = schedule(400)
    inverted = edm.invert(clean, ideal, levels)
    assert inverted.shape == (401, 2, 2)
    assert torch.equal(inverted[0], clean)
    for step in (0, 150, 399):
        truth = exact(clean, 0.0, levels.sigmas[step])
        assert relative(inverted[levels.steps - step], truth) < 0.02


def test_the_state_is_float32_and_steps_are_counted() -> None:
    seen: list[tuple[int, int]] = []
    calls: list[int] = []

    def denoise(x: torch.Tensor, sigma: float, step: int) -> torch.Tensor:
        assert x.dtype == torch.float32
        calls.append(step)
        return ideal(x, sigma, step)

    result = edm.sample(
        torch.ones(2, dtype=torch.float16),
        denoise,
        schedule(3),
        lambda done, total: seen.append((done, total)),
    )
    assert result.dtype == torch.float32
    assert calls == [0, 1, 2]
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_start_latents_are_inverted_where_visible_and_noise_elsewhere() -> None:
    levels = schedule(5)
    inverted = torch.full((2, 3, 1, 2), 160.0)
    noise = torch.full((2, 3, 1, 2), -2.0)
    visible = torch.tensor([[[True, False]], [[False, True]]])
    start = edm.start_latents(inverted, visible, noise, levels)
    # Leading spacing: start_sigma is sqrt(1 + sigma_max^2), so what was inverted comes back as it was.
    torch.testing.assert_close(start[0, :, 0, 0], torch.full((3,), 160.0))
    torch.testing.assert_close(start[0, :, 0, 1], torch.full((3,), -2.0 * levels.start_sigma))
    torch.testing.assert_close(start[1, :, 0, 1], torch.full((3,), 160.0))


def test_other_kinds_of_scheduler_are_refused() -> None:
    for key, value in {"prediction_type": "epsilon", "timestep_type": "discrete"}.items():
        with pytest.raises(WeightsError, match="expected v_prediction, continuous"):
            edm.EDMSchedule.from_config({**EDM_SCHEDULER, key: value}, 5)
    with pytest.raises(ShapeError, match="at least 2"):
        edm.EDMSchedule.from_config(EDM_SCHEDULER, 1)
