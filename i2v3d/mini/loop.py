"""The one optimisation loop of the miniature family, and weights in and out."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from i2v3d.errors import WeightsError
from i2v3d.mini.settings import LoopSettings

log = logging.getLogger(__name__)


class Run(NamedTuple):
    """One training run: where weights come from and go to, the device, the data stream, and when it began
    (time.monotonic): `LoopSettings.seconds` counts from there."""

    weights: Path
    out: Path
    device: torch.device
    stream: int
    begun: float


class Average:
    """Exponential moving average of parameters, short at first; `swap` exchanges it with the live values."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters, self.decay, self.steps = list(parameters), decay, 0
        self.values = [parameter.detach().clone() for parameter in self.parameters]

    def update(self) -> None:
        """Moves the average towards the live values."""
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.values, [p.detach() for p in self.parameters], 1 - keep)

    def swap(self) -> None:
        """Exchanges average and live values; twice changes nothing."""
        for parameter, value in zip(self.parameters, self.values, strict=True):
            live = parameter.detach().clone()
            parameter.data.copy_(value)
            value.copy_(live)


@dataclasses.dataclass
class Outcome:
    """What a loop did: optimiser steps, samples seen, seconds, and the mean loss between log lines."""

    steps: int
    samples: int
    seconds: float
    losses: list[float]


def rate_at(settings: LoopSettings, step: int, progress: float) -> float:
    """Learning rate at an optimiser step (from 1) and a fraction of the time."""
    warm = min(1.0, step / settings.warm_up)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return settings.rate * warm * (settings.floor + (1 - settings.floor) * cosine)


def optimise(
    settings: LoopSettings,
    parameters: Sequence[nn.Parameter],
    gradients: Callable[[], torch.Tensor],
    run: Run,
    title: str,
) -> Outcome:
    """Follows `gradients()`, which fills the parameters' gradients for a batch it draws itself and returns
    the loss (see i2v3d.mini.gradients), and leaves the averaged weights in `parameters`.

    Raises WeightsError when the loss stops being finite (checked when logging).
    """
    gpu = run.device.type == "cuda"
    optimiser = torch.optim.AdamW(
        parameters,
        lr=settings.rate,
        betas=(0.9, 0.99),
        weight_decay=settings.weight_decay,
        fused=gpu,
    )
    average = Average(parameters, settings.ema)
    start, step, seen = time.monotonic(), 0, 0
    recent: list[torch.Tensor] = []
    losses: list[float] = []
    allowed, warm_start = max(settings.seconds - (start - run.begun), 1e-3), start
    while True:
        step += 1
        progress = max((time.monotonic() - start) / allowed, step / settings.max_steps)
        for group in optimiser.param_groups:
            group["lr"] = rate_at(settings, step, progress)
        recent.append(gradients())
        torch.nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimiser.step()
        average.update()
        seen += settings.batch
        if step == 10:
            warm_start = time.monotonic()
        if step % settings.log_every == 0 or progress >= 1:
            losses.append(float(torch.stack(recent).mean()))
            recent = []
            speed = (step - 10) * settings.batch / max(time.monotonic() - warm_start, 1e-9)
            log.info(
                "%s step %d loss %.5f, %.0f samples/s, %.0f %%",
                title,
                step,
                losses[-1],
                speed,
                100 * progress,
            )
            if not math.isfinite(losses[-1]):
                raise WeightsError(f"{title}: the loss is {losses[-1]} after {step} steps; lower loop.rate")
        if progress >= 1:
            break
    average.swap()
    return Outcome(step, seen, time.monotonic() - start, losses)


def save_half(network: nn.Module, path: Path) -> None:
    """Writes a network's state as fp16 safetensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().half().cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(state, path)


def load_half(network: nn.Module, path: Path) -> None:
    """Reads a network's state as float32. Raises WeightsError if the file is missing or does not fit."""
    if not path.is_file():
        raise WeightsError(f"{path} is missing; train that part of the family first")
    state = {name: value.float() for name, value in load_file(path).items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(
            f"{path} does not fit the architecture: {str(error).splitlines()[1].strip()}"
        ) from error
