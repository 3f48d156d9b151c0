"""Triton kernels of the fast networks: gated layers, and attention among frames. Imported only where a GPU runs them.

Every kernel reads half or single precision, computes in float32 and writes the precision it read; features are in
channels-last order. Shapes are those of the functions of the same name in `i2v3d.models.fast.ops`, which call them.
None of them waits for the host.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _gelu(x):
    """x * Phi(x), the normal distribution to 1.5e-7. Source: Abramowitz and Stegun, 7.1.26."""
    z = tl.abs(x) * 0.7071067811865476
    t = 1 / (1 + 0.3275911 * z)
    tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    tail = 0.5 * tail * tl.exp(-z * z)
    return x * tl.where(x < 0, tail, 1 - tail)


@triton.jit
def _gated(x, y, rows, width, block: tl.constexpr):
    """y = a * gelu(g) of x = [a | g]."""
    row, c = tl.program_id(0).to(tl.int64), tl.program_id(1) * block + tl.arange(0, block)
    valid = c < width
    a = tl.load(x + row * 2 * width + c, mask=valid, other=0.0).to(tl.float32)
    g = tl.load(x + (row * 2 + 1) * width + c, mask=valid, other=0.0).to(tl.float32)
    value = a * _gelu(g)
    tl.store(y + row * width + c, value.to(y.dtype.element_ty), mask=valid)


def gated_gelu(x: Tensor) -> Tensor:
    width = x.shape[-1] // 2
    rows = x.numel() // (2 * width)
    y = torch.empty(*x.shape[:-1], width, device=x.device, dtype=x.dtype)
    _gated[rows, triton.cdiv(width, 1024)](x, y, rows, width, 1024, num_warps=4)
    return y


@triton.jit
def _frames_attention(qkv, out, length, channels, scale, frames: tl.constexpr, places: tl.constexpr,
                      rows: tl.constexpr, width: tl.constexpr):  # fmt: skip
    """Attention among the frames of `places` places at once: one tile, in which other places are masked out."""
    clip, head = tl.program_id(1).to(tl.int64), tl.program_id(2)
    line = tl.arange(0, rows)
    place, frame = line // frames, line % frames
    position = tl.program_id(0) * places + place
    valid = (place < places) & (position < length)
    token = (clip * frames + frame) * length + position
    lane = head * width + tl.arange(0, width)
    at = token[:, None] * 3 * channels + lane[None, :]
    q = tl.load(qkv + at, mask=valid[:, None], other=0.0)
    k = tl.load(qkv + at + channels, mask=valid[:, None], other=0.0)
    v = tl.load(qkv + at + 2 * channels, mask=valid[:, None], other=0.0)
    score = tl.dot(q, tl.trans(k)) * scale
    score = tl.where((place[:, None] == place[None, :]) & valid[None, :], score, -1.0e30)
    weight = tl.exp(score - tl.max(score, 1)[:, None])
    weight = weight / tl.sum(weight, 1)[:, None]
    value = tl.dot(weight.to(v.dtype), v)
    tl.store(
        out + token[:, None] * channels + lane[None, :], value.to(out.dtype.element_ty), mask=valid[:, None]
    )


def frames_attention(qkv: Tensor, frames: int, heads: int) -> Tensor:
    pictures, length, triple = qkv.shape
    channels = triple // 3
    width = channels // heads
    rows = max(64, triton.next_power_of_2(frames))
    places = rows // frames
    out = torch.empty(pictures, length, channels, device=qkv.device, dtype=qkv.dtype)
    grid = (triton.cdiv(length, places), pictures // frames, heads)
    _frames_attention[grid](qkv, out, length, channels, width**-0.5, frames, places, rows, width, num_warps=4)
    return out


@triton.jit
def _gated_linear(x, weight, bias, y, rows, c_in, c_out, tile_m: tl.constexpr, tile_n: tl.constexpr,
                  tile_k: tl.constexpr, group: tl.constexpr):  # fmt: skip
    """y = a * gelu(g) of [a | g] = x W^T + b, whose two halves are summed side by side."""
    pid = tl.program_id(0)
    blocks_m, blocks_n = tl.cdiv(rows, tile_m), tl.cdiv(c_out, tile_n)
    first = pid // (group * blocks_n) * group
    size = tl.minimum(blocks_m - first, group)
    inner = pid % (group * blocks_n)
    m = ((first + inner % size) * tile_m + tl.arange(0, tile_m)).to(tl.int64)
    n = (inner // size) * tile_n + tl.arange(0, tile_n)
    k = tl.arange(0, tile_k)
    left = x + (m % rows)[:, None] * c_in + k[None, :]
    right = weight + n[None, :] * c_in + k[:, None]
    value = tl.zeros([tile_m, tile_n], tl.float32)
    gate = tl.zeros([tile_m, tile_n], tl.float32)
    for _ in range(0, c_in, tile_k):
        a = tl.load(left)
        value = tl.dot(a, tl.load(right), value)
        gate = tl.dot(a, tl.load(right + c_out * c_in), gate)
        left += tile_k
        right += tile_k
    value += tl.load(bias + n).to(tl.float32)[None, :]
    gate += tl.load(bias + c_out + n).to(tl.float32)[None, :]
    value = value * _gelu(gate)
    tl.store(y + m[:, None] * c_out + n[None, :], value.to(y.dtype.element_ty), mask=(m < rows)[:, None])


def gated_linear(
    x: Tensor, weight: Tensor, bias: Tensor, tiles: tuple[int, int, int, int, int] | None = None
) -> Tensor:
    c_in, c_out = x.shape[-1], weight.shape[0] // 2
    rows = x.numel() // c_in
    y = torch.empty(*x.shape[:-1], c_out, device=x.device, dtype=x.dtype)
    tile_k = 32 if c_in <= 320 else 64  # few steps along k leave more tiles in flight than long ones
    tile_m, tile_n, tile_k, warps, stages = tiles or (128, 64, tile_k, 4, 3)
    _gated_linear[(triton.cdiv(rows, tile_m) * triton.cdiv(c_out, tile_n),)](
        x, weight, bias, y, rows, c_in, c_out, tile_m, tile_n, tile_k, 8, num_warps=warps, num_stages=stages
    )
    return y
