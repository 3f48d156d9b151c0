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
from i2v3d.models.fast.encoder import Encoded, Encoder, Level
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

    def behind(self, signals: Signals) -> tuple[Tensor, Signals]:
        """The encoder's rows, and what layers are told, behind the block where the source ends."""
        return self.index[self.source :], signals.clips(slice(self.source, None))


@dataclass
class DeepFeatures:
    """What all up blocks but the last hand to it, (N, L, C) of the decoder's rows, from one call to the next.

    A call that computes them writes them into the same memory each time, so that recorded calls find them.
    Source: Ma, Fang and Wang, DeepCache, 2024.
    """

    kept: Tensor | None = None

    def keep(self, h: Tensor) -> Tensor:
        """Writes h; returns it."""
        if self.kept is None:
            self.kept = h.clone()
        else:
            self.kept.copy_(h)
        return h

    def take(self) -> Tensor:
        """A copy of what was written last; layers may compute in its place."""
        assert self.kept is not None, "some call computes deep features before one takes them"
        return self.kept.clone()


@dataclass(frozen=True)
class Deep:
    """What a call does with deep features: it computes and keeps them, or it takes what an earlier call has kept."""

    features: DeepFeatures
    taken: bool


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

    @property
    def up_blocks(self) -> int:
        """The number of the decoder's blocks."""
        return len(self._up)

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
        deep: Deep | None = None,
    ) -> Tensor:
        """x: (N, C, h, w); timestep: (1,). Returns float32 predictions, of a branching's rows without the source's.

        deep: of all up blocks but the last; where it is taken, encoders end behind what the last one reads.
        """
        latents = x.to(self._net.dtype)
        taken = deep is not None and deep.taken
        whole = len(self._up[-1].resnets) - 1 if taken else None
        residuals: list[Tensor | None]
        if self._control is not None:
            assert condition.added[1] is not None, "prepared with the ControlNet"
            shifts = self._control.shifts(timestep, condition.added[1])
            signals = Signals(1, shifts, condition.contexts[1], Unguided())
            encoded = self._control.encoder(latents, signals, condition.control, whole, 0)
            residuals = [
                functional.linear(output, *layer)
                for output, layer in zip(encoded.outputs, self._residuals, strict=not taken)
            ]
        shifts = self._unet.shifts(timestep, condition.added[0])
        signals = Signals(1, shifts, condition.contexts[0], guide or Unguided())
        encoded = self._unet.encoder(latents, signals, None, whole, 0)
        if self._control is None:
            residuals = [None] * len(encoded.outputs)
        h, size = self._decode(encoded, residuals, signals, branching, deep)
        h = ops.group_norm(h, self._net.conv_norm_out, silu=True)
        h, size = ops.conv(h, size, self._net.conv_out)
        h = h + self._net.conv_out.bias
        return h.unflatten(1, size).permute(0, 3, 1, 2).float()

    def _decode(
        self,
        encoded: Encoded,
        residuals: list[Tensor | None],
        signals: Signals,
        branching: Branching | None,
        deep: Deep | None,
    ) -> tuple[Tensor, Size]:
        """(N, h * w, C) and (h, w) behind the last up block, without the source's rows."""
        skips = list(zip(encoded.skips, residuals[: len(encoded.skips)], strict=True))
        index, size, last = None, skips[-1][0][1], len(self._up) - 1
        if branching is not None:
            index = branching.index
            signals = Signals(1, signals.shifts[index], branching.context, signals.guide)
        first = 0
        if deep is not None and deep.taken:
            h, first = deep.features.take(), last
            if branching is not None and branching.last < last:
                index, signals = branching.behind(signals)
        else:
            h = _at_the_middle(encoded, residuals[-1], index)
        for i, level in enumerate(self._up[first:], start=first):
            if i == last and deep is not None and not deep.taken:
                h = deep.features.keep(h)
            with level:
                for j, resnet in enumerate(level.resnets):
                    (skip, size), residual = skips.pop()
                    h = resnet(ops.join(h, skip, residual, index), size, signals)
                    if level.attentions:
                        h = level.attentions[j](h, size, signals)
                if branching is not None and i == branching.last and branching.source:
                    h, (index, signals) = h[branching.source :], branching.behind(signals)
                if skips:
                    h, size = level.enlarge(h, size, skips[-1][0][1])
        return h, size


def _at_the_middle(encoded: Encoded, residual: Tensor | None, index: Tensor | None) -> Tensor:
    """What the decoder begins with, of its own rows."""
    assert encoded.middle is not None, "pictures go on behind every skip"
    h = encoded.middle if residual is None else encoded.middle + residual
    return h if index is None else h[index]
