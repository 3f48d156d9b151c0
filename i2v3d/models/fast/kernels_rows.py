"""Triton kernels of the fast networks: features that change places. Imported only where a GPU runs them.

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
def _join(h, skip, added, index, y, length, left, right, lines: tl.constexpr, width: tl.constexpr,
          picked: tl.constexpr, summed: tl.constexpr):  # fmt: skip
    """y = [h | skip + added] along the channels; skip and added from the pictures that index says."""
    n, part, block = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    c = block * width + tl.arange(0, width)
    row = part * lines + tl.arange(0, lines)
    other = n
    if picked:
        other = tl.load(index + n)
    here = (row < length)[:, None]
    value = tl.load(
        h + (n * length + row[:, None]) * left + c[None, :], mask=here & (c < left)[None, :], other=0.0
    )
    place = (other * length + row[:, None]) * right + (c - left)[None, :]
    behind = here & ((c >= left) & (c < left + right))[None, :]
    second = tl.load(skip + place, mask=behind, other=0.0).to(tl.float32)
    if summed:
        second += tl.load(added + place, mask=behind, other=0.0).to(tl.float32)
    value = tl.where((c < left)[None, :], value, second.to(value.dtype))
    tl.store(
        y + (n * length + row[:, None]) * (left + right) + c[None, :],
        value,
        mask=here & (c < left + right)[None, :],
    )


def join(h: Tensor, skip: Tensor, added: Tensor | None, index: Tensor | None) -> Tensor:
    pictures, length, left = h.shape
    right = skip.shape[-1]
    y = torch.empty(pictures, length, left + right, device=h.device, dtype=h.dtype)
    grid = (pictures, triton.cdiv(length, 2 * _LINES), triton.cdiv(left + right, _CHANNELS))
    _join[grid](
        h, skip, skip if added is None else added, skip if index is None else index, y, length, left, right,
        2 * _LINES, _CHANNELS, index is not None, added is not None, num_warps=4,
    )  # fmt: skip
    return y


@triton.jit
def _copy_where(x, source, mask, first, items, branches, length, channels, stride, lines: tl.constexpr,
                width: tl.constexpr, masked: tl.constexpr):  # fmt: skip
    """x[first + branch * items + item] = x[source[item]] at the places where mask[item] is set."""
    item, part, block = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    c = block * width + tl.arange(0, width)
    row = part * lines + tl.arange(0, lines)
    chosen = row < length
    if masked:
        chosen = tl.load(mask + item * length + row, mask=chosen, other=0) != 0
    inside = chosen[:, None] & (c < channels)[None, :]
    origin = tl.load(source + item)
    value = tl.load(x + (origin * length + row[:, None]) * stride + c[None, :], mask=inside)
    for branch in range(branches):
        place = ((first + branch * items + item) * length + row[:, None]) * stride + c[None, :]
        tl.store(x + place, value, mask=inside)


def copy_where(x: Tensor, source: Tensor, mask: Tensor | None, first: int) -> None:
    pictures, length, channels = x.shape
    items = len(source)
    where = source if mask is None else mask.view(torch.uint8)
    _copy_where[items, triton.cdiv(length, 2 * _LINES), triton.cdiv(channels, _CHANNELS)](
        x, source, where, first, items, (pictures - first) // items, length, channels, x.stride(1), 2 * _LINES,
        _CHANNELS, mask is not None, num_warps=4,
    )  # fmt: skip


@triton.jit
def _take(x, index, y, rows, channels, stride, lines: tl.constexpr, width: tl.constexpr):
    """y[i] = x[index[i]]."""
    row = tl.program_id(0).to(tl.int64) * lines + tl.arange(0, lines)
    c = tl.program_id(1) * width + tl.arange(0, width)
    origin = tl.load(index + row, mask=row < rows, other=0)
    inside = (row < rows)[:, None] & (c < channels)[None, :]
    value = tl.load(x + origin[:, None] * stride + c[None, :], mask=inside)
    tl.store(y + row[:, None] * channels + c[None, :], value, mask=inside)


def take(x: Tensor, index: Tensor) -> Tensor:
    rows, channels = len(index), x.shape[1]
    y = torch.empty(rows, channels, device=x.device, dtype=x.dtype)
    _take[triton.cdiv(rows, 16), triton.cdiv(channels, 256)](
        x, index, y, rows, channels, x.stride(0), 16, 256, num_warps=4
    )
    return y
