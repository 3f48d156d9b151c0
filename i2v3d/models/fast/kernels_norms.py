"""Triton kernels of the fast networks: norms, and sums of features. Imported only where a GPU runs them.

Every kernel reads half or single precision, computes in float32 and writes the precision it read; features are in
channels-last order. Shapes are those of the functions of the same name in `i2v3d.models.fast.ops`, which call them.
None of them waits for the host.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_LINES, _CHANNELS = 32, 64  # tile of the elementwise kernels: rows x channels


@triton.jit
def _moments(x, shift, sums, length, channels, per_shift, row_shift, chunk, lines: tl.constexpr, width: tl.constexpr,
             shifted: tl.constexpr):  # fmt: skip
    """Sum and sum of squares of (x + shift) over a chunk of rows, for each channel: sums[n, chunk, 2, C]."""
    n, part, block = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    c = block * width + tl.arange(0, width)
    valid = c < channels
    offset = tl.zeros([width], tl.float32)
    if shifted:
        offset = tl.load(shift + (n // per_shift) * row_shift + c, mask=valid, other=0.0).to(tl.float32)
    total = tl.zeros([lines, width], tl.float32)
    squares = tl.zeros([lines, width], tl.float32)
    stop = tl.minimum((part + 1) * chunk, length)
    for start in range(part * chunk, stop, lines):
        row = start + tl.arange(0, lines)
        inside = (row < stop)[:, None] & valid[None, :]
        value = tl.load(x + (n * length + row[:, None]) * channels + c[None, :], mask=inside, other=0.0)
        value = tl.where(inside, value.to(tl.float32) + offset[None, :], 0.0)
        total += value
        squares += value * value
    target = sums + (n * tl.num_programs(1) + part) * 2 * channels + c
    tl.store(target, tl.sum(total, 0), mask=valid)
    tl.store(target + channels, tl.sum(squares, 0), mask=valid)


@triton.jit
def _affine(sums, shift, weight, bias, affine, rows, channels, frames, per_shift, row_shift, count, eps,
            lines: tl.constexpr, width: tl.constexpr, shifted: tl.constexpr):  # fmt: skip
    """Moments of a group over `frames` pictures -> scale and offset of its channels: affine[n, 2, C]."""
    sample, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    size = channels // tl.num_programs(1)
    lane = tl.arange(0, width)
    c, valid = group * size + lane, lane < size
    total = tl.zeros([lines, width], tl.float32)
    squares = tl.zeros([lines, width], tl.float32)
    for start in range(0, rows, lines):
        row = start + tl.arange(0, lines)
        inside = (row < rows)[:, None] & valid[None, :]
        place = sums + (sample * rows + row[:, None]) * 2 * channels + c[None, :]
        total += tl.load(place, mask=inside, other=0.0)
        squares += tl.load(place + channels, mask=inside, other=0.0)
    mean = tl.sum(tl.sum(total, 0), 0) / count
    variance = tl.sum(tl.sum(squares, 0), 0) / count - mean * mean
    gain = tl.load(weight + c, mask=valid, other=0.0).to(tl.float32) / tl.sqrt(
        tl.maximum(variance, 0.0) + eps
    )
    base = tl.load(bias + c, mask=valid, other=0.0).to(tl.float32) - mean * gain
    for frame in range(frames):
        n = sample * frames + frame
        offset = base
        if shifted:
            offset += gain * tl.load(shift + (n // per_shift) * row_shift + c, mask=valid, other=0.0).to(
                tl.float32
            )
        tl.store(affine + n * 2 * channels + c, gain, mask=valid)
        tl.store(affine + (n * 2 + 1) * channels + c, offset, mask=valid)


@triton.jit
def _scale(x, affine, y, length, channels, lines: tl.constexpr, width: tl.constexpr, silu: tl.constexpr):
    """y = x * scale + offset for each picture and channel, then SiLU."""
    n, part, block = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    c = block * width + tl.arange(0, width)
    valid = c < channels
    gain = tl.load(affine + n * 2 * channels + c, mask=valid, other=0.0)
    offset = tl.load(affine + (n * 2 + 1) * channels + c, mask=valid, other=0.0)
    row = part * lines + tl.arange(0, lines)
    inside = (row < length)[:, None] & valid[None, :]
    place = (n * length + row[:, None]) * channels + c[None, :]
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32) * gain[None, :] + offset[None, :]
    if silu:
        value = value * tl.sigmoid(value)
    tl.store(y + place, value.to(y.dtype.element_ty), mask=inside)


def group_norm(
    x: Tensor,
    groups: int,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    shift: Tensor | None,
    frames: int,
    silu: bool,
) -> Tensor:
    pictures, length, channels = x.shape
    chunk = triton.cdiv(length, triton.cdiv(length, 512))
    parts, blocks = triton.cdiv(length, chunk), triton.cdiv(channels, _CHANNELS)
    sums = torch.empty(pictures, parts, 2, channels, device=x.device, dtype=torch.float32)
    affine = torch.empty(pictures, 2, channels, device=x.device, dtype=torch.float32)
    y = torch.empty_like(x)
    shifted = shift is not None
    offset = x if shift is None else shift
    per_shift = 1 if shift is None else pictures // shift.shape[0]
    size = channels // groups
    _moments[pictures, parts, blocks](
        x,
        offset,
        sums,
        length,
        channels,
        per_shift,
        offset.stride(0),
        chunk,
        _LINES,
        _CHANNELS,
        shifted,
        num_warps=4,
    )
    _affine[pictures // frames, groups](
        sums, offset, weight, bias, affine, frames * parts, channels, frames, per_shift, offset.stride(0),
        frames * length * size, eps, 64, triton.next_power_of_2(size), shifted, num_warps=4,
    )  # fmt: skip
    _scale[pictures, triton.cdiv(length, 2 * _LINES), blocks](
        x, affine, y, length, channels, 2 * _LINES, _CHANNELS, silu, num_warps=4
    )
    return y


@triton.jit
def _layer_norm(x, delta, shift, total, weight, bias, y, rows, channels, per_shift, row_shift, eps,
                lines: tl.constexpr, width: tl.constexpr, shifted: tl.constexpr, added: tl.constexpr):  # fmt: skip
    """total = x + delta + shift, y = its layer norm."""
    row = tl.program_id(0).to(tl.int64) * lines + tl.arange(0, lines)
    c = tl.arange(0, width)
    valid = c < channels
    inside = (row < rows)[:, None] & valid[None, :]
    place = row[:, None] * channels + c[None, :]
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    if added:
        value += tl.load(delta + place, mask=inside, other=0.0).to(tl.float32)
    if shifted:
        value += tl.load(
            shift + (row // per_shift)[:, None] * row_shift + c[None, :], mask=inside, other=0.0
        ).to(tl.float32)
    if shifted or added:
        value = value.to(x.dtype.element_ty)
        tl.store(total + place, value, mask=inside)
        value = value.to(tl.float32)
    mean = tl.sum(value, 1) / channels
    centred = tl.where(inside, value - mean[:, None], 0.0)
    deviation = 1 / tl.sqrt(tl.sum(centred * centred, 1) / channels + eps)
    gain = tl.load(weight + c, mask=valid, other=0.0).to(tl.float32)
    base = tl.load(bias + c, mask=valid, other=0.0).to(tl.float32)
    value = centred * deviation[:, None] * gain[None, :] + base[None, :]
    tl.store(y + place, value.to(y.dtype.element_ty), mask=inside)


def layer_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    shift: Tensor | None,
    delta: Tensor | None,
    total: Tensor,
) -> Tensor:
    channels = x.shape[-1]
    rows = x.numel() // channels
    width = triton.next_power_of_2(channels)
    lines = max(1, 4096 // width)
    y = torch.empty_like(x)
    offset = x.flatten(0, 1) if shift is None else shift
    per_shift = rows // offset.shape[0]
    _layer_norm[(triton.cdiv(rows, lines),)](
        x, x if delta is None else delta, offset, total, weight, bias, y, rows, channels, per_shift,
        offset.stride(0), eps, lines, width, shift is not None, delta is not None, num_warps=4,
    )  # fmt: skip
    return y


@triton.jit
def _mix(
    x, h, shift, gain, y, length, channels, per_shift, row_shift, lines: tl.constexpr, width: tl.constexpr
):
    """y = x + gain * (h + shift)."""
    n, part, block = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    c = block * width + tl.arange(0, width)
    valid = c < channels
    offset = tl.load(shift + (n // per_shift) * row_shift + c, mask=valid, other=0.0).to(tl.float32)
    factor = tl.load(gain).to(tl.float32)
    row = part * lines + tl.arange(0, lines)
    inside = (row < length)[:, None] & valid[None, :]
    place = (n * length + row[:, None]) * channels + c[None, :]
    value = tl.load(h + place, mask=inside, other=0.0).to(tl.float32) + offset[None, :]
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32) + factor * value
    tl.store(y + place, value.to(y.dtype.element_ty), mask=inside)


def residual(x: Tensor, h: Tensor, shift: Tensor, gain: Tensor) -> Tensor:
    pictures, length, channels = x.shape
    y = torch.empty_like(x)
    grid = (pictures, triton.cdiv(length, 2 * _LINES), triton.cdiv(channels, _CHANNELS))
    _mix[grid](
        x, h, shift, gain, y, length, channels, pictures // shift.shape[0], shift.stride(0),
        2 * _LINES, _CHANNELS, num_warps=4,
    )  # fmt: skip
    return y


@triton.jit
def _blend(x, m, h, shift, gain, y, length, channels, lines: tl.constexpr, width: tl.constexpr):
    """y = x + gain * (m + h + shift - x)."""
    n, part, block = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    c = block * width + tl.arange(0, width)
    valid = c < channels
    offset = tl.load(shift + c, mask=valid, other=0.0).to(tl.float32)
    factor = tl.load(gain).to(tl.float32)
    row = part * lines + tl.arange(0, lines)
    inside = (row < length)[:, None] & valid[None, :]
    place = (n * length + row[:, None]) * channels + c[None, :]
    value = tl.load(m + place, mask=inside, other=0.0).to(tl.float32) + offset[None, :]
    value += tl.load(h + place, mask=inside, other=0.0).to(tl.float32)
    base = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(y + place, (base + factor * (value - base)).to(y.dtype.element_ty), mask=inside)


def blend(x: Tensor, m: Tensor, h: Tensor, shift: Tensor, gain: Tensor) -> Tensor:
    pictures, length, channels = x.shape
    y = torch.empty_like(x)
    grid = (pictures, triton.cdiv(length, 2 * _LINES), triton.cdiv(channels, _CHANNELS))
    _blend[grid](x, m, h, shift, gain, y, length, channels, 2 * _LINES, _CHANNELS, num_warps=4)
    return y
