"""Networks that many tests load from the same files are loaded once: that takes longer than what small ones do."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from torch import nn

from i2v3d.models.weights import Loading


@contextmanager
def loaded_once() -> Iterator[None]:
    """Meanwhile a network that was loaded before is given to the next who loads it from the same unchanged files.

    As it was loaded: what somebody has hung on it, exchanged in it or merged into it is taken back first, so that
    nobody may still use it. What lies in memory of its own or is loaded with options is loaded as ever.
    """
    kept: dict[tuple[object, ...], AsLoaded] = {}
    finish = Loading.finish

    def finish_once(loading: Loading) -> Any:
        if loading._options or loading._own_memory:
            return finish(loading)
        files = tuple((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in loading._folder.iterdir())
        key = (loading._cls, loading._folder, loading._ref, loading._device, loading._dtype, files)
        if key not in kept:
            kept[key] = AsLoaded(finish(loading))
        return kept[key].again()

    with patch.object(Loading, "finish", finish_once):
        yield


HOLDERS = (dict, OrderedDict, list, set)


class AsLoaded:
    """A network and what is needed to make it again what it is now."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._modules = [(module, _copied(vars(module))) for module in network.modules()]
        tensors = (*network.parameters(), *network.buffers())
        self._tensors = [(tensor, tensor.data, tensor.data.clone()) for tensor in tensors]

    def again(self) -> nn.Module:
        """The network with the modules, hooks and numbers that it had."""
        for module, attributes in self._modules:
            vars(module).clear()
            vars(module).update(_copied(attributes))
        for tensor, memory, numbers in self._tensors:
            tensor.data = memory
            memory.copy_(numbers)
            tensor.grad = None
        return self._network


def _copied(attributes: dict[str, Any]) -> dict[str, Any]:
    """What holds others, such as hooks, is copied."""
    return {key: value.copy() if type(value) in HOLDERS else value for key, value in attributes.items()}
