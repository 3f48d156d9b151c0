"""The encoder half of a UNet or ControlNet on channels-last features, and the levels of both halves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from i2v3d.models.fast import ops
from i2v3d.models.fast.residual_blocks import ResBlock, SpatioTemporalResBlock
from i2v3d.models.fast.signals import Signals, Size, TimeShifts
from i2v3d.models.fast.streaming import Streamed
from i2v3d.models.fast.transformers import Transformer


class Level:
    """A down, middle or up block: residual blocks, transformers behind them, and a change of size."""

    def __init__(self, block: Any, name: str, times: TimeShifts) -> None:
        temporal = "SpatioTemporal" in type(block).__name__
        res = SpatioTemporalResBlock if temporal else ResBlock
        self.resnets = [res(b, f"{name}.resnets.{i}", times) for i, b in enumerate(block.resnets)]
        self.attentions = [
            Transformer(b, f"{name}.attentions.{i}") for i, b in enumerate(getattr(block, "attentions", ()))
        ]
        self.name, self._down, self._up = name, None, None
        self.weights: Streamed | None = None
        for sampler in getattr(block, "downsamplers", None) or ():
            self._down = sampler.conv
        for sampler in getattr(block, "upsamplers", None) or ():
            self._up = sampler.conv
        for layer in (self._down, self._up):
            if layer is not None:
                ops.channels_last(layer)

    def __enter__(self) -> Level:
        """Brings the weights, if they come and go."""
        if self.weights is not None:
            self.weights.fetch()
        return self

    def __exit__(self, *error: object) -> None:
        if self.weights is not None:
            self.weights.release()

    @property
    def shrinks(self) -> bool:
        """Whether the size is halved behind it."""
        return self._down is not None

    def shrink(self, h: Tensor, size: Size) -> tuple[Tensor, Size]:
        """Half the size."""
        assert self._down is not None
        h, size = ops.conv(h, size, self._down)
        return h + self._down.bias, size

    def enlarge(self, h: Tensor, size: Size, target: Size) -> tuple[Tensor, Size]:
        """`target` instead of `size`, if the level changes the size at all."""
        if self._up is None:
            return h, size
        h, size = ops.conv(ops.upsample(h, size, target), target, self._up)
        return h + self._up.bias, size


def middle(level: Level, h: Tensor, size: Size, signals: Signals) -> Tensor:
    """The middle block: a residual block, then transformers and residual blocks in turn."""
    h = level.resnets[0](h, size, signals)
    for attention, resnet in zip(level.attentions, level.resnets[1:], strict=True):
        h = resnet(attention(h, size, signals), size, signals)
    return h


@dataclass(frozen=True)
class Encoded:
    """skips: features (N, L, C) and their size, in the order of the encoder; middle: those of the middle block.

    Where nothing goes on behind a skip, the later ones and the middle are missing.
    """

    skips: Sequence[tuple[Tensor, Size]]
    middle: Tensor | None

    @property
    def outputs(self) -> list[Tensor]:
        """The skips' features and, if it is there, the middle's."""
        found = [features for features, _ in self.skips]
        return found if self.middle is None else [*found, self.middle]


class Encoder:
    """The encoder half of a UNet or ControlNet."""

    def __init__(self, net: Any, times: TimeShifts) -> None:
        self._stem = net.conv_in
        ops.channels_last(self._stem)
        self.levels = [
            *(Level(b, f"down_blocks.{i}", times) for i, b in enumerate(net.down_blocks)),
            Level(net.mid_block, "mid_block", times),
        ]

    def __call__(
        self, x: Tensor, signals: Signals, added: Tensor | None, whole: int | None, kept: int
    ) -> Encoded:
        """x: (N, C, h, w); added: (N, h * w, C_0) joins after the first convolution.

        Behind skip number `whole` only the first `kept` clips go on; None: all of them do.
        """
        size = (x.shape[-2], x.shape[-1])
        h, _ = ops.conv(x.permute(0, 2, 3, 1).flatten(1, 2), size, self._stem)
        h = h + self._stem.bias if added is None else h + self._stem.bias + added
        skips: list[tuple[Tensor, Size]] = []

        def keep(h: Tensor, signals: Signals) -> tuple[Tensor, Signals]:
            skips.append((h, size))
            if len(skips) - 1 == whole:
                return h[: kept * signals.frames], signals.clips(slice(kept))
            return h, signals

        h, signals = keep(h, signals)
        for level in self.levels[:-1]:
            with level:
                for i, resnet in enumerate(level.resnets):
                    if not len(h):
                        break
                    h = resnet(h, size, signals)
                    if level.attentions:
                        h = level.attentions[i](h, size, signals)
                    h, signals = keep(h, signals)
                if level.shrinks and len(h):
                    h, size = level.shrink(h, size)
                    h, signals = keep(h, signals)
            if not len(h):
                return Encoded(skips, None)
        with self.levels[-1] as level:
            return Encoded(skips, middle(level, h, size, signals))
