"""Work recorded once as a CUDA graph and replayed: what a step costs the host no longer bounds the GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def record(work: Callable[[], Any], warm_ups: int, pool: Any = None) -> tuple[torch.cuda.CUDAGraph, Any]:
    """Runs `work` `warm_ups` times, then records it; returns the graph and what `work` returned in it.

    work: reads and writes the same tensors each time and never waits for the GPU. pool: memory shared with graphs
    that never run at the same time.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(warm_ups):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    if _has_room():
        # Nothing runs while it is recorded, so the GPU goes on with what is queued.
        with torch.cuda.stream(stream):
            graph.capture_begin(pool)
            try:
                result = work()
            finally:
                graph.capture_end()
    else:
        with torch.cuda.graph(graph, pool=pool):  # which waits for the GPU and gives back what is free
            result = work()
    return graph, result


def _has_room() -> bool:
    """Whether this process may have as much memory again as it holds, so that nothing needs to be given back."""
    free, total = torch.cuda.mem_get_info()
    held = torch.cuda.memory_reserved()
    allowed = torch.cuda.get_per_process_memory_fraction() * total - held
    return min(free, allowed) > held


class Graphed:
    """A function of tensors that runs as it is at its first call, is recorded at the second and replayed from then on.

    Shapes stay the same. On the CPU it is the function itself. What else the function reads must stay as it is, or
    change in place. The first call makes the plans and kernels that a recording must find ready.
    """

    def __init__(self, function: Callable[..., Tensor], pool: Any = None) -> None:
        self._function, self._pool = function, pool
        self._graph: torch.cuda.CUDAGraph | None = None
        self._called = False
        self._inputs: tuple[Tensor, ...] = ()
        self._output = torch.empty(0)

    def __call__(self, *inputs: Tensor) -> Tensor:
        if not (inputs[0].is_cuda and self._called):
            self._called = True
            return self._function(*inputs)
        if self._graph is None:
            self._inputs = tuple(value.clone() for value in inputs)
            self._graph, self._output = record(lambda: self._function(*self._inputs), 0, self._pool)
        for own, value in zip(self._inputs, inputs, strict=True):
            own.copy_(value)
        self._graph.replay()
        return self._output.clone()


def shared_pool(device: torch.device | str) -> Any:
    """Memory for graphs of one owner; None where there are no graphs."""
    return torch.cuda.graph_pool_handle() if torch.device(device).type == "cuda" else None
