"""Residual blocks of diffusers' UNets and autoencoders on channels-last features, without copies of layout.

Each class holds the weights of one diffusers layer and computes what it computes. Biases and the time embedding, which
autoencoders do not have, enter the next norm instead of taking a pass of their own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from i2v3d.models.fast import ops
from i2v3d.models.fast.signals import Signals, Size, TimeShifts, temporal_share


class ResBlock:
    """A ResnetBlock2D."""

    def __init__(self, block: Any, name: str, times: TimeShifts) -> None:
        assert block.time_embedding_norm in ("default", "group"), "a block of SDXL or SVD adds its embedding"
        assert block.output_scale_factor == 1, "a block of SDXL or SVD"
        self._block, self._name = block, f"{name}.conv2"
        ops.channels_last(block.conv1)
        ops.channels_last(block.conv2)
        self._shift = _Shift(block, times)
        self._bias = block.conv2.bias[None]
        if block.conv_shortcut is not None:
            ops.channels_last(block.conv_shortcut)
            self._bias = self._bias + block.conv_shortcut.bias
        self._one = torch.ones((), device=self._bias.device)

    def __call__(self, x: Tensor, size: Size, signals: Signals) -> Tensor:
        block = self._block
        h, _ = ops.conv(ops.group_norm(x, block.norm1, silu=True), size, block.conv1)
        h = ops.group_norm(h, block.norm2, self._shift(signals), silu=True)
        h, _ = ops.conv(h, size, block.conv2)
        h = signals.guide.features(self._name, h, size)
        skip = x if block.conv_shortcut is None else ops.pointwise(x, size, block.conv_shortcut)
        return ops.residual(skip, h, self._bias, self._one)


class SpatioTemporalResBlock:
    """diffusers' class of that name: a residual block over places, then one over frames, mixed."""

    def __init__(self, block: Any, name: str, times: TimeShifts) -> None:
        self._spatial = ResBlock(block.spatial_res_block, f"{name}.spatial_res_block", times)
        self._temporal = temporal = block.temporal_res_block
        assert temporal.conv_shortcut is None, "temporal blocks keep their width"
        self._weights = [_frames_weight(temporal.conv1), _frames_weight(temporal.conv2)]
        self._shift = _Shift(temporal, times)
        self._gain = temporal_share(block.time_mixer)

    def __call__(self, x: Tensor, size: Size, signals: Signals) -> Tensor:
        frames, block = signals.frames, self._temporal
        x = self._spatial(x, size, signals)
        h = ops.group_norm(x, block.norm1, frames=frames, silu=True)
        h = ops.frames_conv(h, self._weights[0], frames)
        h = ops.group_norm(h, block.norm2, self._shift(signals), frames=frames, silu=True)
        h = ops.frames_conv(h, self._weights[1], frames)
        return ops.residual(x, h, block.conv2.bias[None], self._gain)


class _Shift:
    """What a block adds in front of its second norm: a bias and, if it has one, the time embedding; (clips, C)."""

    def __init__(self, block: Any, times: TimeShifts) -> None:
        self._fixed: Tensor | None = None
        if block.time_emb_proj is None:
            self._fixed = block.conv1.bias[None]
        else:
            self._columns = times.add(block.time_emb_proj, block.conv1.bias)

    def __call__(self, signals: Signals) -> Tensor:
        return signals.shifts[:, self._columns] if self._fixed is None else self._fixed


def _frames_weight(layer: Any) -> Tensor:
    """The (C', C, 3, 1, 1) weights of a convolution along the frames, as `ops.frames_conv` takes them."""
    flat: Tensor = layer.weight.detach()[..., 0].contiguous(memory_format=torch.channels_last)
    layer.weight.data = flat[..., None]
    return flat
