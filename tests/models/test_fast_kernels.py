"""The Triton kernels compute what the plain operations compute.

Interpreted, so on the CPU too: TRITON_INTERPRET=1 pytest tests/models/test_fast_kernels.py, where Triton is installed.
"""

from __future__ import annotations

import os

import pytest
import torch
from torch import nn

from i2v3d.models.fast import ops
from tests.models.test_fast_networks import assert_same, random

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("needs TRITON_INTERPRET=1", allow_module_level=True)
pytestmark = pytest.mark.filterwarnings("ignore")  # of Triton's interpreter

kernels_norms, kernels_products, kernels_rows = (
    pytest.importorskip(f"i2v3d.models.fast.kernels_{what}") for what in ("norms", "products", "rows")
)
PICTURES, PLACES, CHANNELS = 4, 70, 64


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture
def x() -> torch.Tensor:
    return random(0, PICTURES, PLACES, CHANNELS)


@pytest.fixture
def shift() -> torch.Tensor:
    """One row for two pictures, a part of a wider tensor."""
    return random(1, 2, CHANNELS + 20)[:, 10:-10]


@pytest.mark.parametrize("frames", [1, 2])
def test_group_norm(x: torch.Tensor, shift: torch.Tensor, frames: int) -> None:
    norm = nn.GroupNorm(8, CHANNELS)
    found = kernels_norms.group_norm(x, 8, norm.weight, norm.bias, norm.eps, shift, frames, True)
    assert_same(found, ops.group_norm(x, norm, shift, frames=frames, silu=True))


def test_layer_norm(x: torch.Tensor, shift: torch.Tensor) -> None:
    norm, delta, total = nn.LayerNorm(CHANNELS), random(2, *x.shape), torch.empty_like(x)
    found = kernels_norms.layer_norm(x, norm.weight, norm.bias, norm.eps, shift, delta, total)
    expected_total, expected = ops.layer_norm(x, norm, shift, delta, keep=True)
    assert_same(found, expected)
    assert_same(total, expected_total)


def test_sums(x: torch.Tensor, shift: torch.Tensor) -> None:
    h, m, gain = random(2, *x.shape), random(3, *x.shape), torch.tensor(0.3)
    assert_same(kernels_norms.residual(x, h, shift, gain), ops.residual(x, h, shift, gain))
    assert_same(kernels_norms.blend(x, m, h, shift[0], gain), ops.blend(x, m, h, shift[0], gain))


def test_attention_among_frames() -> None:
    qkv = random(0, 8, 20, 3 * CHANNELS)
    assert_same(kernels_products.frames_attention(qkv, 4, 2), ops.frames_attention(qkv, 4, 2))


def test_gated_layers() -> None:
    layer, x = nn.Linear(CHANNELS, 2 * 128), random(0, 2, PLACES, CHANNELS)
    expected = ops.gated_gelu(layer(x))
    assert_same(kernels_products.gated_gelu(layer(x)), expected)
    assert_same(kernels_products.gated_linear(x, layer.weight, layer.bias), expected)


def test_rows(x: torch.Tensor) -> None:
    index = torch.tensor([3, 0, 1])
    h, added = random(2, 3, PLACES, 48), random(3, *x.shape)
    assert torch.equal(kernels_rows.join(h, x, added, index), ops.join(h, x, added, index))
    assert torch.equal(kernels_rows.take(x[0], index), x[0][index])


def test_copies() -> None:
    found, mask = random(0, 6, PLACES, 96), random(1, 2, PLACES) > 0
    expected = found.clone()
    kernels_rows.copy_where(found[..., :64], torch.tensor([1, 0]), mask, 2)
    ops.copy_where(expected[..., :64], torch.tensor([1, 0]), mask, 2)
    assert torch.equal(found, expected)
