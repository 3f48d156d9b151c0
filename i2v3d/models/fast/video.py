"""SVD's UNet with its temporal depth ControlNet as one call, on the layers of `i2v3d.models.fast`.

Shapes: B clips, F frames, N = B * F pictures, C channels, (h, w) latent size, D width of the image embedding.
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
from i2v3d.models.temporal_controlnet import time_embedding


@dataclass(frozen=True)
class Replaced:
    """The output of a decoder's residual block, of which only the first `kept` clips are computed.

    level, block: which one. All clips are `kept` times a whole number; each group of them gets the same output, as
    an injection of a whole block wants it. What only the others' part before it would need is not computed either:
    deep levels of encoder and ControlNet, the middle, and the decoder up to here.
    given: the output (N, L, C) of all clips and its size, if it is known from another call; then kept is 0.
    """

    level: int
    block: int
    kept: int
    given: tuple[Tensor, Size] | None = None


class _Half:
    """Encoder with its time embedding, of the UNet or of the ControlNet."""

    def __init__(self, net: Any) -> None:
        self.net, self.times = net, TimeShifts()
        self.encoder = Encoder(net, self.times)

    def signals(
        self, sample: Tensor, timestep: float, embedding: Tensor, time_ids: Tensor, guide: Guide
    ) -> Signals:
        """sample: (B, F, C, h, w), for its size and precision."""
        time = time_embedding(self.net, sample, timestep, time_ids)
        return Signals(sample.shape[1], self.times(time), Context(embedding), guide)


class FastVideoNetwork:
    """Velocity (B, F, C_out, h, w) of a `UNetSpatioTemporalConditionModel` with residuals of a `TemporalControlNet`.

    Shares the networks' weights, whose layout in memory it changes and whose values it does not. controlnet: None
    runs the bare UNet; scale: strength of the ControlNet.
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
            gains = [gain * scale for gain in controlnet.residual_gains]
            layers = [*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block]
            self._residuals = [
                (layer.weight.detach().flatten(1) * gain, layer.bias.detach() * gain)
                for layer, gain in zip(layers, [*gains, scale], strict=True)
            ]

    def stream_weights(self, device: str) -> None:
        """Moves the networks, which are in main memory, to `device`; the weights of their levels come and go."""
        halves = [half for half in (self._unet, self._control) if half is not None]
        stream(self, [*(level for half in halves for level in half.encoder.levels), *self._up], device)

    @torch.no_grad()
    def __call__(
        self,
        sample: Tensor,
        timestep: float,
        embedding: Tensor,
        time_ids: Tensor,
        control: Tensor,
        guide: Guide | None = None,
        replaced: Replaced | None = None,
    ) -> Tensor:
        """sample: (B, F, C, h, w), scaled; embedding: (B, 1, D); time_ids: (B, 3); control: (B, F, C_0, h, w)."""
        frames = sample.shape[1]
        pictures = sample.flatten(0, 1)
        whole, kept = self._reach(replaced)
        residuals: list[Tensor | None]
        if self._control is not None:
            signals = self._control.signals(sample, timestep, embedding, time_ids, Unguided())
            features = control.flatten(0, 1).permute(0, 2, 3, 1).flatten(1, 2)
            encoded = self._control.encoder(pictures, signals, features, whole, kept)
            residuals = [
                functional.linear(output, *layer)
                for output, layer in zip(encoded.outputs, self._residuals, strict=False)
            ]
        signals = self._unet.signals(sample, timestep, embedding, time_ids, guide or Unguided())
        encoded = self._unet.encoder(pictures, signals, None, whole, kept)
        if self._control is None:
            residuals = [None] * len(encoded.outputs)
        h, size = self._decode(encoded, residuals, signals, replaced)
        h = ops.group_norm(h, self._net.conv_norm_out, silu=True)
        h, size = ops.conv(h, size, self._net.conv_out)
        h = h + self._net.conv_out.bias
        return h.unflatten(1, size).permute(0, 3, 1, 2).unflatten(0, (-1, frames))

    def _reach(self, replaced: Replaced | None) -> tuple[int | None, int]:
        """The last skip that all clips need, and how many clips go on behind it."""
        if replaced is None:
            return None, 0
        blocks = [len(level.resnets) for level in self._up]
        before = sum(blocks[: replaced.level]) + replaced.block + 1
        return sum(blocks) - 1 - before, replaced.kept

    def _decode(
        self, encoded: Encoded, residuals: list[Tensor | None], signals: Signals, replaced: Replaced | None
    ) -> tuple[Tensor, Size]:
        """(N, h * w, C) and (h, w) behind the last up block."""
        skips, everything = list(zip(encoded.skips, residuals, strict=False)), signals
        given = None if replaced is None else replaced.given
        place = (-1, -1) if replaced is None else (replaced.level, replaced.block)
        if given is not None:
            h, size = given
        else:
            assert encoded.middle is not None, "no clip goes on, and nobody says what its block makes"
            h, size = encoded.middle, encoded.skips[-1][1]
            if (residual := residuals[-1]) is not None:
                h = h + residual
            signals = signals if replaced is None else signals.clips(slice(replaced.kept))
        for i, level in enumerate(self._up):
            if given is not None and i < place[0]:
                continue
            with level:
                for j, resnet in enumerate(level.resnets):
                    if given is not None and i == place[0] and j < place[1]:
                        continue
                    if given is None or (i, j) != place:
                        (skip, size), residual = skips.pop()
                        h = resnet(ops.join(h, skip, residual, None), size, signals)
                        signals.guide.block(f"{level.name}.resnets.{j}", h, size)
                        if replaced is not None and (i, j) == place:
                            signals = everything
                            h = h.repeat(len(signals.shifts) // replaced.kept, 1, 1)
                    if level.attentions:
                        h = level.attentions[j](h, size, signals)
                if skips:
                    h, size = level.enlarge(h, size, skips[-1][0][1])
        return h, size
