"""Adapted linear layers as one operation each, forward and backward, without casts of features.

    y = x W^T + b + (x A^T) B^T

peft computes the same with the features cast to the adapter's precision and back at every layer. Here the features
stay in the base's precision, in which the adapter's matrices are cast once a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import Linear as AdaptedLinear
from torch import Tensor


class _LoraLinear(torch.autograd.Function):
    """Gradients for x and, in their own precision, for the adapter's matrices down (r, in) and up (out, r)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        down: Tensor,
        up: Tensor,
        a: Tensor,
        b: Tensor,
    ) -> Tensor:
        """a, b: down and up in the precision of x."""
        flat = x.flatten(0, -2)
        inner = flat @ a.t()
        y = flat @ weight.t() if bias is None else torch.addmm(bias, flat, weight.t())
        y.addmm_(inner, b.t())
        ctx.save_for_backward(flat, inner, weight, a, b)
        ctx.precision = down.dtype
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        flat, inner, weight, a, b = ctx.saved_tensors
        g = gradient.flatten(0, -2)
        back = g @ b
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = g @ weight
            to_x.addmm_(back, a)
            to_x = to_x.view(*gradient.shape[:-1], -1)
        return (
            to_x,
            None,
            None,
            _product(back, flat, ctx.precision),
            _product(g, inner, ctx.precision),
            None,
            None,
        )


def _product(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """left^T @ right in `dtype`, summed in float32."""
    if left.is_cuda and left.dtype != dtype:
        result: Tensor = torch.mm(left.t(), right, out_dtype=dtype)
        return result
    return (left.t() @ right).to(dtype)


class FusedAdapter:
    """The adapted layers of a UNet with matrices in the base's precision, `refresh`ed from the trained ones.

    parameters: the adapter's by name, as `add_lora` returns them.
    """

    def __init__(self, unet: Any, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        self._trained = list(parameters.values())
        dtype = unet.dtype  # looks at every parameter: once
        self._cast = [parameter.detach().to(dtype, copy=True) for parameter in self._trained]
        cast = {id(parameter): copy for parameter, copy in zip(self._trained, self._cast, strict=True)}
        self._layers = []
        for module in unet.modules():
            if isinstance(module, AdaptedLinear):
                (name,) = module.active_adapters
                down, up = module.lora_A[name].weight, module.lora_B[name].weight
                assert module.scaling[name] == 1, "alpha equals the rank"
                self._layers.append((module, (down, up, cast[id(down)], cast[id(up)])))

    def refresh(self) -> None:
        """Casts the trained matrices anew; to be called once a step, before the network."""
        torch._foreach_copy_(self._cast, [parameter.detach() for parameter in self._trained])

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Inside, the UNet's adapted layers compute in one operation each."""
        for module, matrices in self._layers:
            module.forward = _forward(module.base_layer, matrices)
        try:
            yield
        finally:
            for module, _ in self._layers:
                del module.forward


def _forward(base: Any, matrices: tuple[Tensor, Tensor, Tensor, Tensor]) -> Any:
    def forward(x: Tensor, *_: Any, **__: Any) -> Tensor:
        result: Tensor = _LoraLinear.apply(x, base.weight, base.bias, *matrices)
        return result

    return forward
