"""Wan VACE's transformer, faster: tokens in the order of its layers, products with their GELU, compiled blocks."""

from __future__ import annotations

import logging
from typing import Any

import torch
from diffusers.models.activations import GELU
from torch import Tensor, nn
from torch.nn import functional

log = logging.getLogger(__name__)

# 100 calls of the 1.3B transformer with 34,320 tokens, 50 steps of 81 frames: on an H100 the stage takes as long with
# compiling (125 s) as without, and 103 s in later processes on the machine, which find what was compiled.
BREAK_EVEN_TOKEN_CALLS = 3.4e6


def keep_token_order(transformer: Any) -> None:
    """Lays the patches' features out token by token, (B, N, D), as every layer behind reads and keeps them.

    A convolution's own order is channel by channel: all norms and sums of the network would stride through memory. No
    number changes.
    """
    for embedding in (transformer.patch_embedding, transformer.vace_patch_embedding):
        embedding.register_forward_hook(
            lambda _, __, found: found.contiguous(memory_format=torch.channels_last_3d)
        )


def fuse_gelu(transformer: nn.Module) -> None:
    """Computes GELU (tanh) within the product before it; for layers of plain weights, in the precision they run in."""
    for module in transformer.modules():
        if isinstance(module, GELU) and module.approximate == "tanh" and type(module.proj) is nn.Linear:
            module.__class__ = FusedGelu


class FusedGelu(GELU):
    """diffusers' layer of a product and GELU in its tanh form, both in one operation."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(..., C) -> (..., D)."""
        return linear_gelu(hidden_states, self.proj.weight, self.proj.bias)


@torch.library.custom_op("i2v3d::linear_gelu", mutates_args=())
def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """GELU in its tanh form of x weight^T + bias: (..., C) -> (..., D); an operation of its own when compiled, too."""
    if not x.is_cuda:
        return functional.gelu(functional.linear(x, weight, bias), approximate="tanh")
    rows = torch._addmm_activation(bias, x.flatten(0, -2), weight.t(), use_gelu=True)
    return rows.unflatten(0, x.shape[:-1])


@linear_gelu.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], len(weight))


def compiling_pays(calls: int, tokens: int) -> bool:
    """Whether `calls` of a transformer with `tokens` each take long enough for compiling its blocks to save time."""
    return calls * tokens >= BREAK_EVEN_TOKEN_CALLS


def compile_blocks(transformer: Any) -> None:
    """Compiles the repeated blocks, when they are called first."""
    log.info("the transformer's blocks are compiled when they are called first")
    transformer.compile_repeated_blocks(fullgraph=True)
