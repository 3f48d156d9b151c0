"""SDXL's UNet with its depth ControlNet as one call, on the layers of `i2v3d.models.fast`.

Shapes: N rows (pictures), C channels, (h, w) latent size, D width of the prompt's tokens, T of the time embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from i2v3d.models.fast import ops
from i2v3d.models.fast.encoder import Encoder, Level
from i2v3d.models.fast.signals import Context, Guide, Signals, Size, TimeShifts, Unguided
from i2v3d.models.fast.streaming import stream


@dataclass(frozen=True)
class Prepared:
    """A condition as UNet and ControlNet need it at every step, one row a picture.

    added: (N, T) each, the embedding of pooled prompt and micro-conditioning; control: (N, h * w, C_0) or None.
    """

    added: tuple[Tensor, Tensor | None]
    contexts: tuple[Context, Context]
    control: Tensor | None


@dataclass(frozen=True)
class Branching:
    """How rows go on from the encoder to the decoder.

    index: the encoder's row for every row of the decoder. context: of the decoder's rows.
    source: leading rows that only give features to others; they end behind the up block `last`.
    """

    index: Tensor
    context: Context
    source: int
    last: int


class _Half:
    def __init__(self, net: Any) -> None:
        self.net, self.times = net, TimeShifts()
        self.encoder = Encoder(net, self.times)

    def added(self, pooled: Tensor, time_ids: Tensor) -> Tensor:
        """(N, T)."""
        ids = self.net.add_time_proj(time_ids.flatten()).reshape(len(time_ids), -1)
        embedded: Tensor = self.net.add_embedding(torch.cat([pooled, ids], dim=-1).to(pooled.dtype))
        return embedded

    def shifts(self, timestep: Tensor, added: Tensor) -> Tensor:
        time = self.net.time_embedding(self.net.time_proj(timestep).to(added.dtype))
        return self.times(time + added)


class FastImageNetwork:
    """Noise (N, C, h, w) that a `UNet2DConditionModel` with the residuals of a `ControlNetModel` predicts.

    Shares the networks' weights, whose layout in memory it changes and whose values it does not. controlnet: without
    its embedding of pixels; None runs the bare UNet; scale: its strength.
    """

    def __init__(self, unet: Any, controlnet: Any, scale: float) -> None:
        self._unet, self._control = _Half(unet), None
        self._up = [Level(b, f"up_blocks.{i}", self._unet.times) for i, b in enumerate(unet.up_blocks)]
        self._unet.times.seal()
        self._net = unet
        ops.channels_last(unet.conv_out)
        if controlnet is not None:
            self._control = _Half(controlnet)
            self._control.times.seal()
            layers = [*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block]
            self._residuals = [
                (layer.weight.detach().flatten(1) * scale, layer.bias.detach() * scale) for layer in layers
            ]

    def stream_weights(self, device: str) -> None:
        """Moves the networks, which are in main memory, to `device`; the weights of their levels come and go."""
        halves = [half for half in (self._unet, self._control) if half is not None]
        stream(self, [*(level for half in halves for level in half.encoder.levels), *self._up], device)

    @torch.no_grad()
    def prepare(self, text: Tensor, pooled: Tensor, time_ids: Tensor, control: Tensor | None) -> Prepared:
        """text: (N, tokens, D); pooled: (N, D'); time_ids: (N, 6); control: (N, C_0, h, w), None without ControlNet."""
        dtype = self._net.dtype
        pooled, time_ids, context = pooled.to(dtype), time_ids.to(dtype), Context(text.to(dtype))
        added = self._unet.added(pooled, time_ids)
        if self._control is None or control is None:
            return Prepared((added, None), (context, context), None)
        features = control.to(dtype).permute(0, 2, 3, 1).flatten(1, 2).contiguous()
        return Prepared(
            (added, self._control.added(pooled, time_ids)), (context, Context(context.tokens)), features
        )

    @torch.no_grad()
    def __call__(
        self,
        x: Tensor,
        timestep: Tensor,
        condition: Prepared,
        guide: Guide | None = None,
        branching: Branching | None = None,
    ) -> Tensor:
        """x: (N, C, h, w); timestep: (1,). Returns float32 predictions, of a branching's rows without the source's."""
        latents = x.to(self._net.dtype)
        residuals: list[Tensor | None]
        if self._control is not None:
            assert condition.added[1] is not None, "prepared with the ControlNet"
            shifts = self._control.shifts(timestep, condition.added[1])
            signals = Signals(1, shifts, condition.contexts[1], Unguided())
            encoded = self._control.encoder(latents, signals, condition.control, None, 0)
            residuals = [
                functional.linear(output, *layer)
                for output, layer in zip(encoded.outputs, self._residuals, strict=True)
            ]
        shifts = self._unet.shifts(timestep, condition.added[0])
        signals = Signals(1, shifts, condition.contexts[0], guide or Unguided())
        encoded = self._unet.encoder(latents, signals, None, None, 0)
        if self._control is None:
            residuals = [None] * (len(encoded.skips) + 1)
        assert encoded.middle is not None, "pictures go on behind every skip"
        skips = list(zip(encoded.skips, residuals[:-1], strict=True))
        h = encoded.middle if residuals[-1] is None else encoded.middle + residuals[-1]
        h, size = self._decode(h, skips, signals, branching)
        h = ops.group_norm(h, self._net.conv_norm_out, silu=True)
        h, size = ops.conv(h, size, self._net.conv_out)
        h = h + self._net.conv_out.bias
        return h.unflatten(1, size).permute(0, 3, 1, 2).float()

    def _decode(
        self,
        h: Tensor,
        skips: list[tuple[tuple[Tensor, Size], Tensor | None]],
        signals: Signals,
        branching: Branching | None,
    ) -> tuple[Tensor, Size]:
        """(N, h * w, C) and (h, w) behind the last up block, without the source's rows."""
        index, size = None, skips[-1][0][1]
        if branching is not None:
            index = branching.index
            signals = Signals(1, signals.shifts[index], branching.context, signals.guide)
            h = h[index]
        for i, level in enumerate(self._up):
            with level:
                for j, resnet in enumerate(level.resnets):
                    (skip, size), residual = skips.pop()
                    h = resnet(ops.join(h, skip, residual, index), size, signals)
                    if level.attentions:
                        h = level.attentions[j](h, size, signals)
                if branching is not None and i == branching.last and branching.source:
                    h, signals = h[branching.source :], signals.clips(slice(branching.source, None))
                    index = branching.index[branching.source :]
                if skips:
                    h, size = level.enlarge(h, size, skips[-1][0][1])
        return h, size
