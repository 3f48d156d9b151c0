"""Weights that stay in main memory and come to the GPU level by level, while a level computes.

Layers of the fast networks hold their weights as tensors, many of them views of one another. While a level is away its
tensors are empty; when it comes, each is a view of one buffer again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

ALIGNMENT = 256
"""Bytes; where a storage may begin in a buffer, as the kernels of matrix products want it."""


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies in a buffer. first: in elements."""

    tensor: Tensor
    dtype: torch.dtype
    first: int
    size: torch.Size
    stride: tuple[int, ...]


class Streamed:
    """The weights of a level: their bytes in main memory, and the tensors that show them on the device."""

    def __init__(self, tensors: Sequence[Tensor], device: str) -> None:
        self._device = torch.device(device)
        starts, stop = _layout(tensors)
        pinned = self._device.type == "cuda"  # pages that a GPU copies from by itself
        self._kept = torch.empty(stop, dtype=torch.uint8, pin_memory=pinned)
        self._places = []
        for tensor in tensors:
            source = _bytes(tensor.untyped_storage())
            start = starts[source.data_ptr()]
            self._kept[start : start + len(source)].copy_(source)
            first = start // tensor.element_size() + int(tensor.storage_offset())
            self._places.append(_Place(tensor, tensor.dtype, first, tensor.size(), tensor.stride()))

    @property
    def nbytes(self) -> int:
        """What the level takes on the device."""
        return len(self._kept)

    def fetch(self) -> None:
        """Brings the weights to the device; what is queued on the present stream from now on finds them there."""
        buffer = self._kept.to(self._device, non_blocking=True, copy=True)
        for place in self._places:
            view = torch.empty(0, dtype=place.dtype, device=self._device)
            place.tensor.data = view.set_(buffer.untyped_storage(), place.first, place.size, place.stride)

    def release(self) -> None:
        """Gives their memory back to what is queued from now on."""
        empty = {p.dtype: torch.empty(0, dtype=p.dtype, device=self._device) for p in self._places}
        for place in self._places:
            place.tensor.data = empty[place.dtype]


def stream(network: Any, levels: Sequence[Any], device: str) -> None:
    """Moves all tensors of a fast network, which are in main memory, to `device`; those of `levels` come and go.

    Every level gets its `Streamed` as `weights`.
    """
    owned = [list(dict.fromkeys(_tensors_of(level))) for level in levels]
    known = {tensor for tensors in owned for tensor in tensors}
    resident = Streamed([t for t in dict.fromkeys(_tensors_of(network)) if t not in known], device)
    resident.fetch()
    for level, tensors in zip(levels, owned, strict=True):
        level.weights = Streamed(tensors, device)
        level.weights.release()


def _layout(tensors: Sequence[Tensor]) -> tuple[dict[int, int], int]:
    """The first byte of each storage, by its address, in a buffer that holds all of them, and the buffer's size."""
    starts: dict[int, int] = {}
    stop = 0
    for tensor in tensors:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in starts:
            starts[storage.data_ptr()] = stop
            stop += -(-storage.nbytes() // ALIGNMENT) * ALIGNMENT
    return starts, stop


def _bytes(storage: torch.UntypedStorage) -> Tensor:
    """A storage as (bytes,) uint8."""
    empty = torch.empty(0, dtype=torch.uint8, device=storage.device)
    return empty.set_(storage)


def _tensors_of(owner: Any) -> Iterator[Tensor]:
    """All tensors with elements that an object of the fast networks holds, through its parts."""
    seen, waiting = set[int](), [owner]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, Tensor):
            if thing.numel():
                yield thing
        elif isinstance(thing, nn.Module):
            waiting += [*thing.parameters(), *thing.buffers()]
        elif isinstance(thing, dict):
            waiting += thing.values()
        elif isinstance(thing, (list, tuple)):
            waiting += thing
        elif type(thing).__module__.startswith("i2v3d.models.fast."):
            waiting += vars(thing).values()
