"""The one optimisation loop of the miniature family, and weights in and out."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import nn

from i2v3d.errors import WeightsError
from miniature.checkpoint import Checkpoint, write_tensors
from miniature.processes import Processes
from miniature.settings import LoopSettings

log = logging.getLogger(__name__)

Sink = Callable[[str, Mapping[str, Any]], None]


def nowhere(kind: str, row: Mapping[str, Any]) -> None:
    """A sink that keeps nothing."""


class Run(NamedTuple):
    """One training run: where weights come from and go to, the device, the data stream, and when it began
    (time.monotonic): `LoopSettings.seconds` counts from there. sink: is told ("metrics", scalars);
    checkpoint: None if the run cannot be continued."""

    weights: Path
    out: Path
    device: torch.device
    stream: int
    begun: float
    checkpoint: Checkpoint | None = None
    processes: Processes = Processes()
    sink: Sink = nowhere


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
    generators: Sequence[torch.Generator] = (),
) -> Outcome:
    """Follows `gradients()`, which fills the parameters' gradients for a batch it draws itself and returns
    the loss (see miniature.gradients), and leaves the averaged weights in `parameters`.

    generators: those that the batches are drawn with; with them a run that is continued from its checkpoint
    does what it would have done (bit for bit on the CPU, and unless the clock ends it).
    Raises WeightsError when the loss stops being finite (checked when logging), and when the checkpoint is
    that of another run.
    """
    loop = _Loop(settings, parameters, run, title, generators)
    loop.restore()
    while loop.progress < 1:
        loop.step(gradients)
        if loop.outcome.steps % settings.log_every == 0 or loop.progress >= 1:
            loop.report()
        every = run.checkpoint.every if run.checkpoint is not None else 0
        if every and loop.outcome.steps % every == 0 and loop.progress < 1:
            loop.save()
    loop.average.swap()
    return loop.outcome


class _Loop:
    """The state of an optimisation: parameters, AdamW, the average, generators, and what was done."""

    def __init__(
        self,
        settings: LoopSettings,
        parameters: Sequence[nn.Parameter],
        run: Run,
        title: str,
        generators: Sequence[torch.Generator],
    ) -> None:
        self.settings, self.parameters, self.run, self.title = settings, list(parameters), run, title
        run.processes.align(self.parameters)
        gpu = run.device.type == "cuda"
        betas, decay = (0.9, 0.99), settings.weight_decay
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=settings.rate, betas=betas, weight_decay=decay, fused=gpu
        )
        self.average = Average(self.parameters, settings.ema)
        # The global generators too: a loss may draw from them.
        common = [torch.default_generator]
        if gpu:
            common.append(torch.cuda.default_generators[run.device.index or 0])
        self.generators = [*common, *generators]
        self.outcome, self.recent, self.progress = Outcome(0, 0, 0.0, []), list[torch.Tensor](), 0.0
        self.begun = time.monotonic()  # of the loop, moved back by the time used before an interruption
        self.allowed = max(settings.seconds - (self.begun - run.begun), 1e-3)
        self.mark, self.slow = (0, self.begun), 10  # speed is measured from here; the first steps are slow

    def step(self, gradients: Callable[[], torch.Tensor]) -> None:
        """One optimiser step."""
        done, settings = self.outcome, self.settings
        done.steps += 1
        progress = max((time.monotonic() - self.begun) / self.allowed, done.steps / settings.max_steps)
        loss = gradients()
        # Clocks differ: processes agree on the progress, or one would stop before the others.
        (self.progress,) = self.run.processes.average(self.parameters, progress)
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(settings, done.steps, self.progress)
        self.recent.append(loss)
        torch.nn.utils.clip_grad_norm_(self.parameters, settings.clip)
        self.optimiser.step()
        self.average.update()
        done.samples += settings.batch * self.run.processes.size
        done.seconds = time.monotonic() - self.begun
        if done.steps == self.slow:
            self.mark = (done.steps, time.monotonic())

    def report(self) -> None:
        """Logs the mean loss since the last report. Raises WeightsError if it is not finite."""
        done, settings = self.outcome, self.settings
        done.losses.append(float(torch.stack(self.recent).mean()))
        self.recent = []
        samples = (done.steps - self.mark[0]) * settings.batch * self.run.processes.size
        speed = samples / max(time.monotonic() - self.mark[1], 1e-9)
        log.info(
            "%s step %d loss %.5f, %.0f samples/s, %.0f %%",
            *(self.title, done.steps, done.losses[-1], speed, 100 * self.progress),
        )
        rate = rate_at(settings, done.steps, self.progress)
        row = {"step": done.steps, "loss": done.losses[-1], "rate": rate, "samples_per_s": speed}
        self.run.sink("metrics", row)
        if not math.isfinite(done.losses[-1]):
            raise WeightsError(
                f"{self.title}: the loss is {done.losses[-1]} after {done.steps} steps; lower loop.rate"
            )

    def save(self) -> None:
        """Writes the checkpoint, by the first of several processes."""
        checkpoint = self.run.checkpoint
        assert checkpoint is not None, "a loop without a checkpoint is not saved"
        own = ([generator.get_state() for generator in self.generators], checkpoint.rendered)
        everyone = self.run.processes.gather(own)
        if self.run.processes.rank == 0:
            optimiser = self.optimiser.state_dict()["state"]
            tensors = {
                **_numbered("parameter", self.parameters),
                **_numbered("average", self.average.values),
                **{
                    f"optimiser.{i}.{key}": value
                    for i, state in optimiser.items()
                    for key, value in state.items()
                },
                **{
                    f"generator.{rank}.{i}": state
                    for rank, (states, _) in enumerate(everyone)
                    for i, state in enumerate(states)
                },
                **_numbered("recent", self.recent),
            }
            facts = {
                "outcome": dataclasses.asdict(self.outcome),
                "average_steps": self.average.steps,
                "allowed": self.allowed,
                "rendered": [rendered for _, rendered in everyone],
            }
            checkpoint.write(
                {name: value.detach().cpu().contiguous() for name, value in tensors.items()}, facts
            )

    @torch.no_grad()
    def restore(self) -> None:
        """Takes over the checkpoint's state, if there is one. Raises WeightsError if it does not fit."""
        saved = self.run.checkpoint.read() if self.run.checkpoint is not None else None
        if saved is None:
            return
        tensors, facts = saved
        try:
            for i, (parameter, value) in enumerate(zip(self.parameters, self.average.values, strict=True)):
                parameter.copy_(tensors[f"parameter.{i}"])
                value.copy_(tensors[f"average.{i}"])
            state: dict[int, dict[str, torch.Tensor]] = {}
            for name, tensor in tensors.items():
                kind, *place = name.split(".")
                if kind == "optimiser":
                    state.setdefault(int(place[0]), {})[place[1]] = tensor
            groups = self.optimiser.state_dict()["param_groups"]
            self.optimiser.load_state_dict({"state": state, "param_groups": groups})
            for i, generator in enumerate(self.generators):
                generator.set_state(tensors[f"generator.{self.run.processes.rank}.{i}"])
        except (KeyError, RuntimeError) as error:
            raise WeightsError(
                f"the checkpoint of {self.title} does not fit its networks ({error}); delete it"
            ) from error
        recent = sum(name.startswith("recent.") for name in tensors)
        self.recent = [tensors[f"recent.{i}"].to(self.run.device) for i in range(recent)]
        self.outcome, self.average.steps = Outcome(**facts["outcome"]), facts["average_steps"]
        self.allowed, now = facts["allowed"], time.monotonic()
        self.begun, self.mark = now - self.outcome.seconds, (self.outcome.steps, now)
        self.slow = self.outcome.steps + 10
        log.info("%s goes on after step %d", self.title, self.outcome.steps)


def _numbered(name: str, tensors: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{name}.{i}": tensor for i, tensor in enumerate(tensors)}


def save_half(network: nn.Module, path: Path) -> None:
    """Writes a network's state as fp16 safetensors."""
    state = {name: value.detach().half().cpu().contiguous() for name, value in network.state_dict().items()}
    write_tensors(path, state)


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


def merge(folders: Sequence[Path], into: Path) -> Path:
    """One folder with the safetensors files of all `folders`, the last of a name: links in `into`, a new
    folder, or the only one of them itself. Raises WeightsError if one of several is no folder.
    """
    if len(folders) == 1:
        return folders[0]
    into.mkdir(parents=True)
    for folder in folders:
        if not folder.is_dir():
            raise WeightsError(f"--weights {folder} is not a folder; train the parts before this one first")
        for path in sorted(folder.glob("*.safetensors")):
            link = into / path.name
            link.unlink(missing_ok=True)
            link.symlink_to(path.resolve())
    return into
