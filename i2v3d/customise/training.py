"""LoRA customisation to one photo: what is drawn at a step, the loss, one step, and what a checkpoint holds.

    loss = mean(e_photo^2) + lambda * mean(mask * e_view^2),   e = eps_theta(x_t, t, prompt) - eps

Every number drawn depends on (seed, step, row) alone, so training that goes on from a checkpoint is the
training that was never interrupted. Source: I2V3D, image customisation with multi-view augmentation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator

from i2v3d.config.lora import LoraConfig
from i2v3d.errors import ConfigError
from i2v3d.models.sdxl import PromptEmbedding
from i2v3d.randomness import generator

_PRECISION = {torch.float32: "no", torch.float16: "fp16", torch.bfloat16: "bf16"}


@dataclass(frozen=True)
class Pool:
    """Encoded training pictures, from which rows are drawn.

    latents: (K, C, h, w), scaled. masks: (K, 1, h, w) in {0, 1}, where the loss counts. time_ids: (K, 6),
    SDXL's micro-conditioning. All float32.
    """

    latents: torch.Tensor
    masks: torch.Tensor
    time_ids: torch.Tensor


@dataclass(frozen=True)
class Rows:
    """Training examples: a Pool's fields a row, and the noise (R, C, h, w) and timestep (R,) of each."""

    latents: torch.Tensor
    masks: torch.Tensor
    time_ids: torch.Tensor
    noise: torch.Tensor
    timesteps: torch.Tensor


@dataclass(frozen=True)
class Losses:
    """One step. loss = photo + lambda * views; views is nan without that term. grad_norm: before clipping."""

    loss: float
    photo: float
    views: float
    grad_norm: float


@dataclass(frozen=True)
class Draws:
    """What is drawn for the rows of a step: numbers in the pool, timesteps, and noise (R, C, h, w)."""

    picks: list[int]
    timesteps: list[int]
    noise: torch.Tensor


def draw(
    pool_size: int, shape: tuple[int, ...], count: int, timesteps: int, seed: int, purpose: str, step: int
) -> Draws:
    """`count` rows of a pool, each with noise (C, h, w) and a uniform timestep below `timesteps`.

    purpose: 'photo' or 'views'; what is drawn for one never depends on the other.
    """
    picks, times, noises = [], [], []
    for row in range(count):
        source = generator(seed, f"lora/{purpose}", f"{step}/{row}")
        picks.append(int(torch.randint(pool_size, (), generator=source)))
        times.append(int(torch.randint(timesteps, (), generator=source)))
        noises.append(torch.randn(shape, generator=source))
    return Draws(picks, times, torch.stack(noises))


def draw_rows(pool: Pool, count: int, timesteps: int, seed: int, purpose: str, step: int) -> Rows:
    """The training examples that `draw` says."""
    drawn = draw(len(pool.latents), tuple(pool.latents.shape[1:]), count, timesteps, seed, purpose, step)
    picks = drawn.picks
    return Rows(
        pool.latents[picks],
        pool.masks[picks],
        pool.time_ids[picks],
        drawn.noise,
        torch.tensor(drawn.timesteps),
    )


def join_rows(first: Rows, second: Rows) -> Rows:
    """The rows of both, one after the other."""
    names = first.__dataclass_fields__
    return Rows(*(torch.cat([getattr(first, name), getattr(second, name)]) for name in names))


def add_noise(latents: torch.Tensor, noise: torch.Tensor, alpha_bar: torch.Tensor) -> torch.Tensor:
    """x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps. alpha_bar: (R,), one a row."""
    a = alpha_bar.view(-1, 1, 1, 1)
    return a.sqrt() * latents + (1 - a).sqrt() * noise


def masked_loss(prediction: torch.Tensor, noise: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """mean(mask * squared error): the mean is over every element, so that a small object weighs little.

    prediction, noise: (R, C, h, w). masks: (R, 1, h, w) in {0, 1}. Source: I2V3D, masked view loss.
    """
    return (masks * (prediction.float() - noise).square()).mean()


def diverged(loss: float, step: int, cfg: LoraConfig) -> ConfigError:
    """The error for a loss that is not finite."""
    return ConfigError(
        f"the LoRA's loss is {loss} at step {step}; lower lora.learning_rate, now "
        f"{cfg.learning_rate:g}, or use bfloat16 or float32 for models.image.dtype"
    )


class LoraTrainer:
    """The UNet's LoRA parameters, their optimiser, and one step of both.

    unet: with a float32 adapter, everything else frozen. parameters: the adapter's, by name. prompt: its
    first row is the training prompt. photo, views: pools on the CPU; views is None exactly if
    cfg.lambda_views is 0.
    alpha_bar: (T,) cumulative signal fractions of the noise schedule.
    """

    def __init__(
        self,
        unet: Any,
        parameters: dict[str, torch.nn.Parameter],
        prompt: PromptEmbedding,
        photo: Pool,
        views: Pool | None,
        alpha_bar: torch.Tensor,
        cfg: LoraConfig,
    ) -> None:
        assert (views is None) == (cfg.lambda_views == 0), "views are given exactly if their term counts"
        self._unet, self._parameters, self._cfg = unet, parameters, cfg
        self._prompt, self._photo, self._views, self._alpha_bar = prompt, photo, views, alpha_bar
        self._adamw = torch.optim.AdamW(
            parameters.values(), lr=cfg.learning_rate, weight_decay=cfg.weight_decay
        )
        device = next(iter(parameters.values())).device
        self._accelerator = Accelerator(
            mixed_precision=_PRECISION[unet.dtype], cpu=device.type == "cpu", device_placement=False
        )
        self._optimizer = self._accelerator.prepare(self._adamw)
        self._device = device

    def run(self, steps: range) -> list[Losses]:
        """The optimiser steps `steps`, numbered from 1."""
        return [self.step(step) for step in steps]

    def step(self, step: int) -> Losses:
        """One optimiser step, numbered from 1.

        The whole minibatch is one network call, whatever the machine's batch limit: another split would
        round differently. Raises ConfigError once the loss is not finite.
        """
        terms = self.loss_terms(step)
        loss = sum(terms[1:], terms[0])
        if not math.isfinite(loss.item()):
            raise diverged(loss.item(), step, self._cfg)
        self._accelerator.backward(loss)
        norm = self._accelerator.clip_grad_norm_(self._parameters.values(), self._cfg.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        views = terms[1].item() / self._cfg.lambda_views if len(terms) == 2 else math.nan
        return Losses(loss.item(), terms[0].item(), views, float(norm))

    def loss_terms(self, step: int) -> list[torch.Tensor]:
        """The photo's term, and the views' times lambda if it counts, for the examples of a step."""
        cfg = self._cfg
        rows = self._draw(self._photo, "photo", step)
        if self._views is not None:
            rows = join_rows(rows, self._draw(self._views, "views", step))
        errors = self._predict(rows), rows.noise.to(self._device), rows.masks.to(self._device)
        terms = [masked_loss(*(tensor[: cfg.batch] for tensor in errors))]
        if self._views is not None:
            terms.append(cfg.lambda_views * masked_loss(*(tensor[cfg.batch :] for tensor in errors)))
        return terms

    def _draw(self, pool: Pool, purpose: str, step: int) -> Rows:
        return draw_rows(pool, self._cfg.batch, len(self._alpha_bar), self._cfg.seed, purpose, step)

    def _predict(self, rows: Rows) -> torch.Tensor:
        """The noise that the UNet sees in the noised rows, (R, C, h, w)."""
        noisy = add_noise(rows.latents, rows.noise, self._alpha_bar[rows.timesteps]).to(self._device)
        prompt = self._prompt.repeat(0, len(noisy))
        with self._accelerator.autocast():
            prediction: torch.Tensor = self._unet(
                noisy.to(self._unet.dtype),
                rows.timesteps.to(self._device),
                encoder_hidden_states=prompt.text,
                added_cond_kwargs={"text_embeds": prompt.pooled, "time_ids": rows.time_ids.to(self._device)},
                return_dict=False,
            )[0]
        return prediction

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that the next step depends on, as tensors by name: weights, moments, loss scale."""
        tensors = {}
        for name, parameter in self._parameters.items():
            tensors[f"lora/{name}"] = parameter.detach()
            tensors.update({f"{key}/{name}": value for key, value in self._adamw.state[parameter].items()})
        scaler = self._accelerator.scaler
        if scaler is not None:
            state = scaler.state_dict()
            tensors["scaler"] = torch.tensor([state["scale"], state["_growth_tracker"]], dtype=torch.float64)
        return {name: value.cpu().contiguous() for name, value in tensors.items()}

    def load_state(self, tensors: dict[str, torch.Tensor]) -> None:
        """Goes back to what `state` returned. Raises KeyError or RuntimeError for another adapter's state."""
        for name, parameter in self._parameters.items():
            parameter.data.copy_(tensors[f"lora/{name}"])
            if f"step/{name}" not in tensors:
                continue  # in float16 the first steps may all have been skipped, for too large a loss scale
            moments = {key: tensors[f"{key}/{name}"] for key in ("exp_avg", "exp_avg_sq")}
            self._adamw.state[parameter] = {
                "step": tensors[f"step/{name}"].clone(),
                **{key: value.to(parameter.device, copy=True) for key, value in moments.items()},
            }
        scaler = self._accelerator.scaler
        if scaler is not None:
            scale, growth = tensors["scaler"].tolist()
            scaler.load_state_dict({**scaler.state_dict(), "scale": scale, "_growth_tracker": int(growth)})
