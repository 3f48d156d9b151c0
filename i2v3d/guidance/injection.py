"""Feature injection: named layers of a network copy the features of the source rows to the other rows.

A batch is laid out branch by branch: [source | unconditional | conditional | ...], each branch of the same
number of items (frames, or directions x frames for video), in the same order. During a network call inside
`with inject(network, plan):` ordinary forward hooks overwrite, at the planned layers and where the mask of
an item is set, the features of all other branches with those of the source branch:

    plan = InjectionPlan(
        copies=(
            FeatureCopy("query_key", resolve_layers(unet, cfg.layers.attention), LayerMask(visible)),
            FeatureCopy("output", resolve_layers(unet, cfg.layers.conv), LayerMask(foreground)),
        ),
        branches=3,
    )
    with inject(unet, plan):
        prediction = unet(...)

A plan is data for one call (or many equal ones): when a time limit has passed, leave the copy out; a plan
without copies installs nothing. The masks belong to the items of the call, so a chunk of frames takes
`mask.items(chunk)`. It works alike for the image UNet and the spatio-temporal one, whose spatial layers see
(items of all branches) x frames flattened. Source: I2V3D, feature injection (3d and 4e of the method).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from i2v3d.errors import LayerError, ShapeError, nearest
from i2v3d.guidance.masks import LayerMask

Size = tuple[int, int]
Features = torch.Tensor


@dataclass(frozen=True)
class FeatureCopy:
    """One kind of feature at some layers.

    kind: "query_key" copies the outputs of `to_q` and `to_k` of the named attentions; "output" the whole
    output (rows, channels, h, w) of the named modules. names: module names, from `resolve_layers`.
    mask: where to copy, one map per item; None copies everywhere.
    """

    kind: Literal["query_key", "output"]
    names: tuple[str, ...]
    mask: LayerMask | None


@dataclass(frozen=True)
class InjectionPlan:
    """What one network call copies. branches: rows = branches x items; the first branch is the source."""

    copies: tuple[FeatureCopy, ...]
    branches: int


def resolve_layers(network: nn.Module, patterns: Sequence[str]) -> tuple[str, ...]:
    """Names of the modules that match any of the fnmatch `patterns`, in the network's own order.

    Raises LayerError if one of the patterns matches nothing, with the nearest names.
    """
    names = [name for name, _ in network.named_modules() if name]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise LayerError(
                f"layer pattern '{pattern}' matches no module of {type(network).__name__}; "
                f"{nearest(pattern, names) if _is_close(pattern, names) else 'check models.*.layers'}"
            )
    return tuple(name for name in names if any(fnmatch.fnmatchcase(name, p) for p in patterns))


def _is_close(pattern: str, names: Sequence[str]) -> bool:
    """Whether `nearest` would name a few modules and not list the whole network."""
    return nearest(pattern, names).startswith("did you mean")


@contextmanager
def inject(network: nn.Module, plan: InjectionPlan) -> Iterator[None]:
    """Installs the hooks of `plan` on `network` and removes them on exit, also after an error.

    The network's outputs are bit-identical before and after. Raises LayerError for names that are not
    modules of the network, and during the call ShapeError if rows, branches and masks do not fit.
    """
    with ExitStack() as hooks:
        sizes = SpatialSizes(network, hooks)
        for copy in plan.copies:
            for name in copy.names:
                module = submodule(network, name)
                if copy.kind == "query_key":
                    size = sizes.around(name)
                    hook = _token_hook(name, copy.mask, plan.branches, size)
                    targets = [module.to_q, module.to_k]
                else:
                    hook = _map_hook(name, copy.mask, plan.branches)
                    targets = [module]
                for target in targets:
                    hooks.callback(target.register_forward_hook(hook).remove)
        yield


class SpatialSizes:
    """Remembers, while `hooks` are open, the (h, w) that each spatial transformer is working at.

    Attention layers see tokens only; their enclosing transformer sees the feature map. Reading its shape
    is what makes every aspect ratio and resolution work without a table.
    """

    def __init__(self, network: nn.Module, hooks: ExitStack) -> None:
        self._network, self._hooks = network, hooks
        self._sizes: dict[str, Size] = {}
        self._watched: set[str] = set()

    def around(self, attention: str) -> Callable[[], Size]:
        """A function that gives the size of the feature map around the attention layer `attention`."""
        owner = transformer_of(self._network, attention)
        if owner not in self._watched:
            self._watched.add(owner)
            handle = submodule(self._network, owner).register_forward_pre_hook(
                self._watcher(owner), with_kwargs=True
            )
            self._hooks.callback(handle.remove)
        return lambda: self._sizes[owner]

    def _watcher(self, owner: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def watch(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            hidden_states = args[0] if args else kwargs["hidden_states"]
            self._sizes[owner] = (hidden_states.shape[-2], hidden_states.shape[-1])

        return watch


def transformer_of(network: nn.Module, attention: str) -> str:
    """Name of the spatial transformer (it sees (rows, channels, h, w)) that holds the layer `attention`.

    Raises LayerError if no ancestor of the layer is one.
    """
    parts = attention.split(".")
    for end in range(len(parts) - 1, 0, -1):
        if hasattr(submodule(network, ".".join(parts[:end])), "transformer_blocks"):
            return ".".join(parts[:end])
    raise LayerError(
        f"'{attention}' lies in no spatial transformer of {type(network).__name__}; "
        "name the attn1 of a transformer block"
    )


def submodule(network: nn.Module, name: str) -> Any:
    """The submodule `name`; raises LayerError with the nearest names if there is none."""
    try:
        return network.get_submodule(name)
    except AttributeError as error:
        known = [known for known, _ in network.named_modules() if known]
        raise LayerError(
            f"{type(network).__name__} has no layer '{name}'; {nearest(name, known)[:300]}"
        ) from error


def _token_hook(name: str, mask: LayerMask | None, branches: int, size: Callable[[], Size]) -> Any:
    """A forward hook for features (rows, tokens, channels)."""

    def hook(module: nn.Module, args: tuple[Any, ...], output: Features) -> Features:
        if mask is None:
            return _copy_source(output, None, branches, name)
        (height, width), tokens = size(), output.shape[1]
        if height * width != tokens:
            raise ShapeError(f"'{name}' sees {tokens} tokens; expected {height}x{width}, its feature map")
        return _copy_source(output, mask.tokens(height, width)[..., None], branches, name)

    return hook


def _map_hook(name: str, mask: LayerMask | None, branches: int) -> Any:
    """A forward hook for features (rows, channels, h, w)."""

    def hook(module: nn.Module, args: tuple[Any, ...], output: Features) -> Features:
        height, width = output.shape[-2:]
        return _copy_source(output, None if mask is None else mask.at(height, width)[:, None], branches, name)

    return hook


def _copy_source(output: Features, mask: torch.Tensor | None, branches: int, name: str) -> Features:
    """The features with the source rows copied over all others where `mask` (items, ...) is set."""
    rows = output.shape[0]
    items = rows // branches
    if rows % branches or (mask is not None and mask.shape[0] != items):
        expected = f"{branches} branches" + ("" if mask is None else f" of {mask.shape[0]} items, as masked")
        raise ShapeError(f"'{name}' sees {rows} rows; expected {expected}")
    split = output.unflatten(0, (branches, items))
    source = split[:1]
    if mask is None:
        return source.expand_as(split).flatten(0, 1)
    return torch.where(mask.to(output.device), source, split).flatten(0, 1)
