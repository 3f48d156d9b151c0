"""Fast LoRA training is LoRA training: the same draws, losses and state."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from i2v3d.customise.adapter import add_lora
from i2v3d.customise.fast_training import FastLoraTrainer
from i2v3d.customise.training import LoraTrainer
from i2v3d.models.sdxl import load_image_models
from i2v3d.stages.lora import Pause, intervals
from tests.customise.test_lora import ALPHA_BAR, CFG, pool, prompts
from tests.support.image_family import write_tiny_family

Trainer = LoraTrainer | FastLoraTrainer


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[type[Trainer], float], Trainer]:
    """A trainer of one kind on networks of its own, for a weight of the views' term."""
    config = write_tiny_family(tmp_path_factory.mktemp("family"))

    def made(kind: type[Trainer], lambda_views: float) -> Trainer:
        models = load_image_models(config, "cpu", ("unet", "vae", "text"))
        cfg = dataclasses.replace(CFG, lambda_views=lambda_views, batch=2)
        parameters = add_lora(models.unet, cfg.rank, cfg.target_modules, cfg.seed)
        views = pool(models, 3, seed=1) if lambda_views else None
        return kind(models.unet, parameters, prompts(models), pool(models, 5), views, ALPHA_BAR, cfg)

    return made


@pytest.mark.parametrize("lambda_views", [0.0, 0.5])
@pytest.mark.slow
def test_losses_and_state_are_the_plain_ones(
    build: Callable[[type[Trainer], float], Trainer], lambda_views: float
) -> None:
    plain, fast = build(LoraTrainer, lambda_views), build(FastLoraTrainer, lambda_views)
    for expected, found in zip(plain.run(range(1, 4)), fast.run(range(1, 4)), strict=True):
        assert dataclasses.astuple(found) == pytest.approx(
            dataclasses.astuple(expected), rel=1e-5, nan_ok=True
        )
    before, after = plain.state(), fast.state()
    assert before.keys() == after.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.slow
def test_training_goes_on_from_the_plain_trainers_state(
    build: Callable[[type[Trainer], float], Trainer],
) -> None:
    plain, fast = build(LoraTrainer, 1.0), build(FastLoraTrainer, 1.0)
    plain.run(range(1, 3))
    fast.load_state(plain.state())
    (expected,), (found,) = plain.run(range(3, 4)), fast.run(range(3, 4))
    assert dataclasses.astuple(found) == pytest.approx(dataclasses.astuple(expected), rel=1e-5)


def test_intervals_end_where_something_is_done() -> None:
    cfg = dataclasses.replace(CFG, steps=12, validation_every=5, checkpoint_every=4)
    assert list(intervals(1, cfg, 3)) == [
        range(2, 5),
        range(5, 6),
        range(6, 9),
        range(9, 11),
        range(11, 13),
    ]
    assert [len(steps) for steps in intervals(0, cfg, 1)] == [1] * 12


def test_a_pause_of_nothing_is_always_over() -> None:
    always, later = Pause(0), Pause(1000)
    assert always.due() and always.due() and not later.due()
