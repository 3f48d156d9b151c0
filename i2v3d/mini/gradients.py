"""Loss and gradients of one batch: plainly, or replayed as a CUDA graph.

The miniature networks are so small that launching their kernels takes the host longer than running them
takes the GPU; a captured step is launched at once.
"""

from __future__ import annotations

import logging
import types
from collections.abc import Callable, Sequence

import torch
from torch import nn

log = logging.getLogger(__name__)

Loss = Callable[..., torch.Tensor]
Draw = Callable[[], tuple[torch.Tensor, ...]]


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
    loss: Loss, draw: Draw, parameters: Sequence[nn.Parameter], device: torch.device
) -> Callable[[], torch.Tensor]:
    """As `plain`, but forward and backward pass are one CUDA graph, where that is possible.

    loss must be free of random numbers, host synchronisation and branches on values; draw must return
    tensors of the same shapes every time.
    """
    if device.type != "cuda":
        return plain(loss, draw, parameters, device)
    try:
        return _capture(loss, draw, parameters)
    except RuntimeError as error:
        log.warning("the step cannot be captured as a CUDA graph, going on without: %s", error)
        torch.cuda.synchronize()
        return plain(loss, draw, parameters, device)


def _capture(loss: Loss, draw: Draw, parameters: Sequence[nn.Parameter]) -> Callable[[], torch.Tensor]:
    batch = tuple(tensor.clone() for tensor in draw())

    def step() -> torch.Tensor:
        for parameter in parameters:
            parameter.grad = None
        # Without the cache of casts: a cached cast would not follow the weights.
        with torch.autocast("cuda", dtype=torch.bfloat16, cache_enabled=False):
            value = loss(*batch)
        value.backward()
        return value

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

    def gradients() -> torch.Tensor:
        for static, fresh in zip(batch, draw(), strict=True):
            static.copy_(fresh)
        graph.replay()
        return value.detach().clone()

    return gradients


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
