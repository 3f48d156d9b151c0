"""Classifier-free guidance, and both branches of a network without any other guidance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from i2v3d.diffusion.denoiser import BothBranches, Prediction
from i2v3d.diffusion.guidance import Guided, classifier_free_guidance


def test_guidance_of_one_is_the_conditional_prediction() -> None:
    unconditional, conditional = torch.tensor([1.0]), torch.tensor([3.0])
    assert classifier_free_guidance(unconditional, conditional, 1.0) == 3
    assert classifier_free_guidance(unconditional, conditional, 0.0) == 1
    assert classifier_free_guidance(unconditional, conditional, 2.5) == 6


def test_every_sampler_gets_the_guided_prediction_and_the_unconditional_one() -> None:
    def denoiser(x: Tensor, level: float, step: int) -> Prediction:
        return Prediction(level * x, step * x)

    x = torch.tensor([1.0, -2.0])
    found = Guided(denoiser, 2.5)(x, 4.0, 6)
    assert torch.equal(found.unconditional, 4 * x)
    assert torch.equal(found.guided, 9 * x)
    assert torch.equal(Guided(denoiser, 2.5).predict(x, 4.0, 6), 9 * x)
    assert torch.equal(Guided(denoiser, 1).predict(x, 4.0, 6), 6 * x)


@dataclass(frozen=True)
class Gains:
    """The condition of a network that multiplies: one factor a row."""

    factors: Tensor

    def rows(self, index: Tensor | slice) -> Gains:
        return Gains(self.factors[index])

    @staticmethod
    def join(parts: list[Gains]) -> Gains:
        return Gains(torch.cat([part.factors for part in parts]))


class Multiplier:
    """A network whose predictions are its condition times the latents; notes the rows of each call."""

    layers = nn.Identity()

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, x: Tensor, level: float, condition: Gains) -> Tensor:
        self.calls.append(len(x))
        return x * condition.factors

    def in_chunks(self, x: Tensor, level: float, condition: Gains, max_batch: int) -> Tensor:
        spans = [slice(i, i + max_batch) for i in range(0, len(x), max_batch)]
        return torch.cat([self(x[span], level, condition.rows(span)) for span in spans])


def test_both_branches_of_all_rows_share_one_batch() -> None:
    network, x = Multiplier(), torch.ones(3)
    factors = torch.tensor([1.0, 2.0, 3.0, 10.0, 20.0, 30.0])
    found = BothBranches(network, Gains(factors), 4)(x, 0.0, 0)
    assert found.unconditional.tolist() == [1, 2, 3]
    assert found.conditional.tolist() == [10, 20, 30]
    assert network.calls == [4, 2]
