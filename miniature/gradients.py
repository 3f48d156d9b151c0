"""Loss and gradients of one batch: plainly, or replayed as a CUDA graph.

The miniature networks are so small that launching their kernels takes the host longer than running them
takes the GPU; a captured step is launched at once.
"""

from __future__ import annotations

import copy
import logging
import types
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import SpatioTemporalResBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from torch import nn

log = logging.getLogger(__name__)

Loss = Callable[..., torch.Tensor]
Draw = Callable[[], tuple[torch.Tensor, ...]]
Network = TypeVar("Network", bound=nn.Module)


def plain(
    loss: Loss, draw: Draw, parameters: Sequence[nn.Parameter], device: torch.device
) -> Callable[[], torch.Tensor]:
    """A function that draws a batch, fills the gradients of loss(*batch) and returns the loss."""

    def gradients() -> torch.Tensor:
        for parameter in parameters:
            parameter.grad = None
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            value = loss(*draw())
        value.backward()
        return value.detach()

    return gradients


def captured(
    loss: Loss,
    draw: Draw,
    parameters: Sequence[nn.Parameter],
    device: torch.device,
    halves: Sequence[nn.Parameter] | None = None,
) -> Callable[[], torch.Tensor]:
    """As `plain`, but forward and backward pass are one CUDA graph, where that is possible.

    loss must be free of random numbers, host synchronisation and branches on values; draw must return
    tensors of the same shapes every time. halves: the parameters of `half_copy` networks, in the order of
    `parameters`, if the loss uses those; a step gives them the values of `parameters`, and these the gradients.
    """
    if device.type != "cuda":
        return plain(loss, draw, parameters, device)
    batch = tuple(tensor.clone() for tensor in draw())
    step = half_step(loss, batch, parameters, halves) if halves else _mixed_step(loss, batch, parameters)
    try:
        replay = _capture(step)
    except RuntimeError as error:
        log.warning("the step cannot be captured as a CUDA graph, going on without: %s", error)
        torch.cuda.synchronize()
        replay = step

    def gradients() -> torch.Tensor:
        for static, fresh in zip(batch, draw(), strict=True):
            static.copy_(fresh)
        return replay().detach().clone()

    return gradients


def _mixed_step(
    loss: Loss, batch: tuple[torch.Tensor, ...], parameters: Sequence[nn.Parameter]
) -> Callable[[], torch.Tensor]:
    """A function that fills the gradients for `batch`, under autocast."""

    def step() -> torch.Tensor:
        for parameter in parameters:
            parameter.grad = None
        # Without the cache of casts: a cached cast would not follow the weights.
        with torch.autocast("cuda", dtype=torch.bfloat16, cache_enabled=False):
            value = loss(*batch)
        value.backward()
        return value

    return step


def half_step(
    loss: Loss,
    batch: tuple[torch.Tensor, ...],
    parameters: Sequence[nn.Parameter],
    halves: Sequence[nn.Parameter],
) -> Callable[[], torch.Tensor]:
    """A function that fills the gradients for `batch` from those of the parameters' half-precision copies."""
    masters = [parameter.detach() for parameter in parameters]
    copies = [parameter.detach() for parameter in halves]

    def step() -> torch.Tensor:
        torch._foreach_copy_(copies, masters)
        for parameter in halves:
            parameter.grad = None
        value = loss(*batch)
        value.backward()
        for parameter, half in zip(parameters, halves, strict=True):
            if half.grad is not None and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        filled = [parameter.grad for parameter in parameters if parameter.grad is not None]
        torch._foreach_copy_(filled, [half.grad for half in halves if half.grad is not None])
        return value

    return step


def _capture(step: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    """A function that replays `step` as a CUDA graph. Raises RuntimeError if it cannot be captured."""

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value = step()
    log.info("captured the step as a CUDA graph")

    def replay() -> torch.Tensor:
        graph.replay()
        return value

    return replay


def half_copy(network: Network) -> Network:
    """A copy of a video network in bfloat16 for `captured`, its blocks compiled, that computes the same but
    for rounding. Only for training on a GPU.
    """
    half = copy.deepcopy(network)
    fold_time_convolutions(half)
    skip_single_keys(half)
    half = half.to(torch.bfloat16)
    # Blocks of one kind and size share their compiled code, which takes a third of the time of the whole.
    torch._dynamo.config.recompile_limit = 64
    for module in half.modules():
        if isinstance(module, SpatioTemporalResBlock | TransformerSpatioTemporalModel):
            module.compile(dynamic=False)
    return half


class SingleKey:
    """Attention processor for one key: its softmax is 1, so the output is the value, whatever the query."""

    def __call__(
        self, attn: Attention, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor, **_: Any
    ) -> torch.Tensor:
        """hidden_states: (B, L, C); encoder_hidden_states: (B, 1, D). Returns (B, L, C)."""
        assert encoder_hidden_states.shape[1] == 1, "there is more than one key"
        out: torch.Tensor = attn.to_out[0](attn.to_v(encoder_hidden_states))
        return out.expand(-1, hidden_states.shape[1], -1)


def skip_single_keys(network: nn.Module) -> None:
    """Leaves out queries and keys of SVD's cross-attentions, whose only key is the image embedding."""
    for name, module in network.named_modules():
        if isinstance(module, Attention) and name.endswith("attn2"):
            module.set_processor(SingleKey())


def fold_time_convolutions(network: nn.Module) -> None:
    """Computes every 3x1x1 convolution over (B, C, F, h, w) as a 2D one over (B, C, F, h * w): the same
    numbers, by kernels that are much faster in half precision. Parameters stay where they are.
    """

    def forward(self: nn.Conv3d, volume: torch.Tensor) -> torch.Tensor:
        flat = nn.functional.conv2d(volume.flatten(3), self.weight[..., 0], self.bias, padding=(1, 0))
        return flat.unflatten(3, volume.shape[3:])

    for module in network.modules():
        if isinstance(module, nn.Conv3d) and module.kernel_size == (3, 1, 1):
            module.forward = types.MethodType(forward, module)  # type: ignore[method-assign]
