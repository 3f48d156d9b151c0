"""Weights from files straight to a device: several threads read, and networks are built without memory of their own.

A library's loader reads a network through main memory, one tensor after the other, and then moves it: on a GPU that
costs more than the disk does. Here every thread reads a piece of a file into memory that the GPU copies from by
itself, while the next network is built.
"""

from __future__ import annotations

import gc
import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.initialization import no_init_weights

log = logging.getLogger(__name__)

PIECE = 32 * 2**20
"""Bytes that a thread reads at once."""
THREADS = 6
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
}
"""Names of the safetensors format; a file with another one is left to the library's loader."""

_readers = ThreadPoolExecutor(THREADS, thread_name_prefix="weights")


@dataclass(frozen=True)
class _Entry:
    """A tensor of a file. start, stop: its bytes in the file."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class _Span:
    """Bytes of a file and where they go: (first byte within the span, destination) pairs."""

    file: Path
    start: int
    stop: int
    parts: tuple[tuple[int, Tensor], ...]


class Reading:
    """Tensors of safetensors files on their way to `device`, floating ones in `dtype` once they are there.

    Raises KeyError for a type that is not known, OSError or ValueError for a file that cannot be read.
    """

    def __init__(self, files: Sequence[Path], device: str, dtype: torch.dtype) -> None:
        self._dtype, self._device = dtype, torch.device(device)
        self._tensors: dict[str, Tensor] = {}
        spans = []
        for file in files:
            entries = _entries(file)
            places = {e.name: torch.empty(e.shape, dtype=e.dtype, device=self._device) for e in entries}
            self._tensors.update(places)
            spans += _spans(file, entries, places)
        ready = None
        if self._device.type == "cuda":  # the memory may still be in use by work that is queued
            ready = torch.cuda.Event()
            ready.record(torch.cuda.current_stream(self._device))
        self._pending: list[Future[None]] = [
            _readers.submit(_fill, span, self._device, ready) for span in spans
        ]

    def tensors(self) -> dict[str, Tensor]:
        """All of them by name, once they are there."""
        for pending in self._pending:
            pending.result()
        return {
            name: value.to(self._dtype) if value.is_floating_point() else value
            for name, value in self._tensors.items()
        }


def begin_reading(files: Sequence[Path], device: str, dtype: torch.dtype, what: Path) -> Reading | None:
    """A `Reading`; None, with a line in the log about `what`, for files that it does not know or cannot read."""
    try:
        return Reading(files, device, dtype) if files else None
    except (OSError, ValueError, KeyError) as error:
        log.info("%s is left to the library's loader: %s", what, error)
        return None


def _entries(file: Path) -> list[_Entry]:
    """What the header of a safetensors file says, in the order of the file."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    first = 8 + length
    entries = [
        _Entry(
            name, _DTYPES[told["dtype"]], tuple(told["shape"]), *(first + at for at in told["data_offsets"])
        )
        for name, told in header.items()
    ]
    return sorted(entries, key=lambda entry: entry.start)


def _spans(file: Path, entries: Sequence[_Entry], places: dict[str, Tensor]) -> list[_Span]:
    """Pieces of a file, of PIECE bytes at most; a large tensor has several, small ones share one."""
    spans: list[_Span] = []
    start, parts = entries[0].start if entries else 0, list[tuple[int, Tensor]]()
    for entry in entries:
        flat = places[entry.name].flatten().view(torch.uint8)
        at = entry.start
        while at < entry.stop:
            if at - start >= PIECE:
                spans.append(_Span(file, start, at, tuple(parts)))
                start, parts = at, []
            until = min(entry.stop, start + PIECE)
            parts.append((at - start, flat[at - entry.start : until - entry.start]))
            at = until
    if parts:
        spans.append(_Span(file, start, entries[-1].stop, tuple(parts)))
    return spans


def _fill(span: _Span, device: torch.device, ready: torch.cuda.Event | None) -> None:
    """Reads a piece of a file and copies it to its destinations."""
    size = span.stop - span.start
    buffer = torch.empty(size, dtype=torch.uint8, pin_memory=ready is not None)
    view, done = memoryview(buffer.numpy().data), 0
    descriptor = os.open(span.file, os.O_RDONLY)
    try:
        while done < size:
            count = os.preadv(descriptor, [view[done:]], span.start + done)
            if not count:
                raise OSError(f"{span.file} ends after {span.start + done} bytes; expected {span.stop}")
            done += count
    finally:
        os.close(descriptor)
    context: AbstractContextManager[Any] = nullcontext()
    if ready is not None:
        stream = torch.cuda.Stream(device)
        stream.wait_event(ready)
        context = torch.cuda.stream(stream)
    with context:
        places = [place for _, place in span.parts]
        pieces = [buffer[first : first + len(place)] for first, place in span.parts]
        # One call for all: after each the thread waits for the interpreter's lock.
        torch._foreach_copy_(places, pieces, non_blocking=True)
        if ready is not None:
            torch.cuda.current_stream(device).synchronize()


def files_of(cls: Any, folder: Path, variant: str | None) -> list[Path]:
    """The files that the loader of `cls` would read; empty if they are not where the libraries put them."""
    stem = "model" if hasattr(cls, "config_class") else "diffusion_pytorch_model"
    stem += f".{variant}" if variant else ""
    whole = folder / f"{stem}.safetensors"
    return [whole] if whole.is_file() else sorted(folder.glob(f"{stem}-*-of-*.safetensors"))


def build(cls: Any, folder: Path, reading: Reading) -> Any:
    """A network of diffusers or transformers with the weights that are being read; None if they are not exactly its.

    Whatever a library's loader would rename, convert, complete or refuse is left to it.
    """
    if getattr(cls, "_keep_in_fp32_modules", None):
        return None
    network = _without_memory(cls, folder)
    tensors = reading.tensors()
    expected = {name: value.shape for name, value in network.state_dict().items()}
    if expected != {name: value.shape for name, value in tensors.items()}:
        return None
    network.load_state_dict(tensors, assign=True)
    device = next(iter(tensors.values())).device
    for name, buffer in list(network.named_buffers()):
        if buffer.is_meta and not _count_positions(network, name, buffer, device):
            return None
    return network


def _without_memory(cls: Any, folder: Path) -> Any:
    """A network of the configuration in `folder`, whose tensors have no memory and no values.

    While it is built threads read, and each of them needs the interpreter now and then: so values are not drawn, and
    nobody looks for garbage among the modules.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        with torch.device("meta"), no_init_weights():
            if hasattr(cls, "config_class"):
                return cls(cls.config_class.from_pretrained(folder, local_files_only=True))
            return cls.from_config(cls.load_config(folder, local_files_only=True))
    finally:
        if collecting:
            gc.enable()


def _count_positions(network: Any, name: str, buffer: Tensor, device: torch.device) -> bool:
    """Fills a buffer that is in no file, if it numbers positions."""
    owner, _, leaf = name.rpartition(".")
    if leaf != "position_ids":
        return False
    module = network.get_submodule(owner)
    module._buffers[leaf] = torch.arange(buffer.shape[-1], device=device).expand(buffer.shape)
    return True
