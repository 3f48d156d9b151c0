"""DDIM against the exact solution for Gaussian data, and windows of keyframes."""

from __future__ import annotations

import pytest
import torch

from i2v3d.diffusion.ddim import DDIM
from i2v3d.diffusion.windows import Windows
from i2v3d.errors import ConfigError, WeightsError
from i2v3d.models.layout import DDIM_SCHEDULER

SPREAD = 0.5  # standard deviation of the Gaussian data


def ddim(steps: int) -> DDIM:
    return DDIM.from_config(DDIM_SCHEDULER, steps)


def ideal_noise(sampler: DDIM, x: torch.Tensor, timestep: int) -> torch.Tensor:
    """The best prediction of the noise when clean values are N(0, SPREAD^2)."""
    alpha_bar = sampler.alpha_bar[1 + sampler.timesteps.index(timestep)]
    return (1 - alpha_bar) ** 0.5 * x / (alpha_bar * SPREAD**2 + 1 - alpha_bar)


def deviation(sampler: DDIM, level: int) -> float:
    """Standard deviation of the noised data at a level; the exact trajectories scale with it."""
    return (sampler.alpha_bar[level] * SPREAD**2 + 1 - sampler.alpha_bar[level]) ** 0.5


def sample(sampler: DDIM, x: torch.Tensor) -> torch.Tensor:
    for level in range(sampler.steps, 0, -1):
        x = sampler.move(x, ideal_noise(sampler, x, sampler.timesteps[level - 1]), level, level - 1)
    return x


def test_timesteps_ascend_and_signal_fades() -> None:
    sampler = ddim(50)
    assert sampler.timesteps[0] == 1
    assert sampler.timesteps[-1] == 981
    assert list(sampler.timesteps) == sorted(sampler.timesteps)
    assert list(sampler.alpha_bar) == sorted(sampler.alpha_bar, reverse=True)


def test_one_step_is_the_schedulers_own() -> None:
    from diffusers import DDIMScheduler

    sampler, scheduler = ddim(7), DDIMScheduler.from_config(DDIM_SCHEDULER)
    scheduler.set_timesteps(7)
    x, noise = torch.randn(2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    for level, timestep in zip(range(7, 0, -1), scheduler.timesteps, strict=True):
        expected = scheduler.step(noise, timestep, x).prev_sample
        assert torch.allclose(sampler.move(x, noise, level, level - 1), expected, atol=1e-5)


def test_halving_the_steps_error_of_first_order() -> None:
    """The exact flow scales x by the ratio of the standard deviations; Euler's error halves with the step."""
    errors = []
    for steps in (50, 100, 200):
        sampler = ddim(steps)
        x = torch.ones(1, dtype=torch.float64)
        exact = deviation(sampler, 0) / deviation(sampler, sampler.steps)
        errors.append(abs(float(sample(sampler, x)) - exact))
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.4)
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.4)


def test_inverting_and_sampling_returns_the_data() -> None:
    x = SPREAD * torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    errors = []
    for steps in (100, 200):
        sampler = ddim(steps)
        levels = sampler.invert(x, lambda x, t, step, s=sampler: ideal_noise(s, x, int(t)))
        assert len(levels) == steps
        errors.append(float((sample(sampler, levels[-1]) - x).norm() / x.norm()))
    assert errors[1] < 0.02
    assert errors[1] < 0.6 * errors[0]


def test_moving_there_and_back_with_the_same_noise_is_exact() -> None:
    sampler = ddim(10)
    x, noise = torch.randn(2, 1, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(sampler.move(sampler.move(x, noise, 0, 7), noise, 7, 0), x)


def test_inversion_reports_every_step() -> None:
    seen: list[tuple[int, int]] = []
    ddim(3).invert(torch.zeros(1), lambda x, t, step: x, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_network_that_predicts_something_else_is_refused() -> None:
    with pytest.raises(WeightsError, match="predicts 'v_prediction'; expected 'epsilon'"):
        DDIM.from_config({**DDIM_SCHEDULER, "prediction_type": "v_prediction"}, 3)


@pytest.mark.parametrize(
    ("frames", "window", "overlap", "spans"),
    [
        (3, 4, 1, [(0, 3)]),
        (4, 4, 1, [(0, 4)]),
        (5, 4, 1, [(0, 4), (3, 5)]),
        (7, 4, 1, [(0, 4), (3, 7)]),
        (6, 3, 2, [(0, 3), (1, 4), (2, 5), (3, 6)]),
        (4, 2, 0, [(0, 2), (2, 4)]),
        (1, 4, 1, [(0, 1)]),
    ],
)
def test_windows_cover_all_frames(
    frames: int, window: int, overlap: int, spans: list[tuple[int, int]]
) -> None:
    windows = Windows.over(frames, window, overlap)
    assert list(windows.spans) == spans
    assert set(windows.rows) == set(range(frames))


def test_the_mean_over_windows_of_what_was_gathered_is_the_frame() -> None:
    windows = Windows.over(7, 3, 1)
    frames = torch.arange(7.0)
    assert torch.allclose(windows.mean_weights() @ frames[list(windows.rows)], frames)


def test_an_overlap_of_the_whole_window_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected 0 to 2"):
        Windows.over(9, 3, 3)
