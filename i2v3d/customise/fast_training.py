"""LoRA training whose whole step is one CUDA graph: the same draws and losses, no waiting inside an interval.

What a step draws goes to the device for all steps of an interval at once; a step then is three small copies and one
replay. Losses stay on the device until the interval ends.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from i2v3d.config.lora import LoraConfig
from i2v3d.customise.fused_layers import FusedAdapter
from i2v3d.customise.training import Draws, Losses, Pool, add_noise, diverged, draw, masked_loss
from i2v3d.models.fast.graph import record
from i2v3d.models.sdxl import PromptEmbedding

_WARM_UPS = 3  # steps before the recording; what they change is undone


class FastLoraTrainer:
    """A `LoraTrainer` for a GPU; on the CPU the same operations without a graph.

    The network runs in its own precision, the adapter, its moments and the loss in float32. Pictures of the photo
    and views are one pool on the device, the photo's first.
    """

    def __init__(
        self,
        unet: Any,
        parameters: dict[str, torch.nn.Parameter],
        prompt: PromptEmbedding,
        photo: Pool,
        views: Pool | None,
        alpha_bar: Tensor,
        cfg: LoraConfig,
    ) -> None:
        assert (views is None) == (cfg.lambda_views == 0), "views are given exactly if their term counts"
        self._unet, self._parameters, self._cfg = unet, parameters, cfg
        self._device = next(iter(parameters.values())).device
        pools = [photo] if views is None else [photo, views]
        self._counts = [len(pool.latents) for pool in pools]
        self._pool = Pool(
            *(
                torch.cat([getattr(p, name) for p in pools]).to(self._device)
                for name in Pool.__dataclass_fields__
            )
        )
        self._alpha_bar = alpha_bar.to(self._device)
        rows = cfg.batch * len(pools)
        text = prompt.repeat(0, rows)
        self._dtype = dtype = unet.dtype  # looks at every parameter: once
        self._text, self._pooled = text.text.to(dtype), text.pooled.to(dtype)
        on_gpu = self._device.type == "cuda"
        self._adamw = torch.optim.AdamW(
            parameters.values(),
            lr=cfg.learning_rate,
            weight_decay=cfg.weight_decay,
            fused=on_gpu,
            capturable=on_gpu,
        )
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=on_gpu and dtype == torch.float16)
        self._adapter = FusedAdapter(unet, parameters)
        self._now = self._drawn(range(1, 2))[0]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._losses = torch.zeros(len(pools) + 2, device=self._device)

    def run(self, steps: range) -> list[Losses]:
        """The steps of an interval, numbered from 1. Raises ConfigError at the first loss that is not finite."""
        if self._device.type == "cuda" and self._graph is None:
            self._record()
        results = torch.empty(len(steps), len(self._losses), device=self._device)
        for draws, result in zip(self._drawn(steps), results, strict=True):
            for own, value in zip(self._now, draws, strict=True):
                own.copy_(value)
            if self._graph is None:
                self._step()
            else:
                self._graph.replay()
            result.copy_(self._losses)
        return [self._told(step, row) for step, row in zip(steps, results.tolist(), strict=True)]

    def _told(self, step: int, row: list[float]) -> Losses:
        loss, norm, photo, *views = row
        if not math.isfinite(loss):
            raise diverged(loss, step, self._cfg)
        return Losses(loss, photo, views[0] / self._cfg.lambda_views if views else math.nan, norm)

    def _drawn(self, steps: range) -> list[tuple[Tensor, Tensor, Tensor]]:
        """For every step the numbers in the joined pool, timesteps and noise of its rows, on the device."""
        shape, cfg = tuple(self._pool.latents.shape[1:]), self._cfg
        rows: list[Draws] = []
        for step in steps:
            for purpose, count in zip(("photo", "views"), self._counts, strict=False):
                rows.append(draw(count, shape, cfg.batch, len(self._alpha_bar), cfg.seed, purpose, step))
        offsets = torch.tensor([0, *self._counts[:-1]]).repeat(len(steps))[:, None]
        tables = (
            torch.tensor([r.picks for r in rows]) + offsets,
            torch.tensor([r.timesteps for r in rows]),
            torch.stack([r.noise for r in rows]),
        )
        per_step = [table.unflatten(0, (len(steps), -1)).flatten(1, 2).to(self._device) for table in tables]
        return list(zip(*per_step, strict=True))

    def _step(self) -> None:
        """One optimiser step on what `_now` holds; leaves its losses in `_losses`."""
        self._adapter.refresh()
        terms = self._terms()
        loss = sum(terms[1:], terms[0])
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._adamw)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters.values(), self._cfg.clip_norm)
        self._scaler.step(self._adamw)
        self._scaler.update()
        self._adamw.zero_grad()
        self._losses.copy_(torch.stack([loss.detach(), norm, *(term.detach() for term in terms)]))

    def _terms(self) -> list[Tensor]:
        """The photo's term, and the views' times lambda if it counts."""
        picks, timesteps, noise = self._now
        noisy = add_noise(self._pool.latents[picks], noise, self._alpha_bar[timesteps]).to(self._dtype)
        added = {"text_embeds": self._pooled, "time_ids": self._pool.time_ids[picks]}
        with self._adapter.installed():
            predicted = self._unet(
                noisy, timesteps, encoder_hidden_states=self._text, added_cond_kwargs=added, return_dict=False
            )[0]
        masks, batch = self._pool.masks[picks], self._cfg.batch
        terms = [masked_loss(predicted[:batch], noise[:batch], masks[:batch])]
        if len(self._counts) == 2:
            views = masked_loss(predicted[batch:], noise[batch:], masks[batch:])
            terms.append(self._cfg.lambda_views * views)
        return terms

    def _record(self) -> None:
        """Records a step and undoes what the steps before the recording did, all in place."""
        before = self.state()
        self._graph, _ = record(self._step, _WARM_UPS)
        self.load_state(before)

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, as tensors by name; what `LoraTrainer` returns too."""
        tensors = {}
        for name, parameter in self._parameters.items():
            tensors[f"lora/{name}"] = parameter.detach()
            tensors.update({f"{key}/{name}": value for key, value in self._adamw.state[parameter].items()})
        if self._scaler.is_enabled():
            state = self._scaler.state_dict()
            tensors["scaler"] = torch.tensor([state["scale"], state["_growth_tracker"]], dtype=torch.float64)
        return {name: value.to("cpu", copy=True).contiguous() for name, value in tensors.items()}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Goes back to what `state` returned, in place. Raises KeyError for another adapter's state."""
        for name, parameter in self._parameters.items():
            parameter.data.copy_(tensors[f"lora/{name}"])
            moments = self._adamw.state[parameter]
            for key in ("step", "exp_avg", "exp_avg_sq"):
                saved = tensors.get(f"{key}/{name}")
                if key in moments:
                    moments[key].zero_() if saved is None else moments[key].copy_(saved)
                elif saved is not None:
                    moments[key] = saved.to(
                        self._device if key != "step" or self._adamw.defaults["fused"] else "cpu"
                    )
        if self._scaler.is_enabled():
            scale, growth = tensors["scaler"].tolist()
            if self._scaler._scale is None or self._scaler._growth_tracker is None:
                self._scaler.load_state_dict(
                    {**self._scaler.state_dict(), "scale": scale, "_growth_tracker": int(growth)}
                )
            else:
                self._scaler._scale.fill_(scale)
                self._scaler._growth_tracker.fill_(int(growth))
