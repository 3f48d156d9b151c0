"""Networks that many tests load from the same files are loaded once: that takes longer than what small ones do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from torch import nn

from i2v3d.models.weights import Loading


@contextmanager
def loaded_once() -> Iterator[None]:
    """Meanwhile a network that was loaded before is given to the next who loads it from the same unchanged files.

    Unless somebody has changed it and left it so: then it is loaded again. What lies in memory of its own or is loaded
    with options is loaded as ever. Not for networks that a LoRA is merged into: peft's writes are not counted.
    """
    kept: dict[tuple[object, ...], tuple[Any, object]] = {}
    finish = Loading.finish

    def finish_once(loading: Loading) -> Any:
        if loading._options or loading._own_memory:
            return finish(loading)
        files = tuple((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in loading._folder.iterdir())
        key = (loading._cls, loading._folder, loading._ref, loading._device, loading._dtype, files)
        network, state = kept.get(key, (None, None))
        if network is None or look(network) != state:
            network = finish(loading)
            kept[key] = network, look(network)
        return network

    with patch.object(Loading, "finish", finish_once):
        yield


def look(network: nn.Module) -> object:
    """What changes if somebody changes a network: its modules, what hangs on them, and writes to its tensors."""
    modules = [
        (name, id(module), tuple(sorted((key, _seen(value)) for key, value in vars(module).items())))
        for name, module in network.named_modules()
    ]
    tensors = [(id(t), t._version, t.data_ptr()) for t in (*network.parameters(), *network.buffers())]
    return modules, tensors


def _seen(value: object) -> int:
    """The length of what holds others, such as hooks; the identity of anything else."""
    return len(value) if isinstance(value, dict | list | set) else id(value)
