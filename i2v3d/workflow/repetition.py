"""Hydra and OmegaConf without what they do again and again with the same result.

Most of the time in which they compose goes into that, and a sweep composes many variants of the same files.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from typing import Any


@functools.cache
def spare_repetition() -> None:
    """Lets both remember, once a process; what they compose stays the same.

    The parse trees of interpolations, which are only read, but made at each resolution. The parsed version numbers of
    Hydra's own, compared at each default. A file with a text that has been read before. And the values that
    interpolated defaults may name are gathered only where a list of defaults has one.
    """
    import hydra.version
    from hydra._internal import defaults_list
    from omegaconf import OmegaConf, base

    patched: tuple[tuple[Any, str, Callable[[Any], Any]], ...] = (
        (base, "parse", functools.cache),
        (hydra.version, "_get_version", functools.cache),
        (defaults_list, "_create_interpolation_map", _gathered_where_asked),
        (OmegaConf, "load", lambda read: staticmethod(_read_once(read))),
    )
    for owner, name, spared in patched:
        setattr(owner, name, spared(getattr(owner, name)))


def _gathered_where_asked(gather: Callable[..., Any]) -> Callable[..., Any]:
    """`_create_interpolation_map` of Hydra, which asks for the map only to resolve a default that is interpolated."""

    def gathered(overrides: Any, defaults: list[Any], self_added: bool) -> Any:
        if not any(default.is_interpolation() for default in defaults):
            return None
        return gather(overrides, defaults, self_added)

    return gathered


def _read_once(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`OmegaConf.load` that makes what it returns from equal texts once, and copies of it, since Hydra changes it."""
    known: dict[str, bytes] = {}

    def load(file: Any) -> Any:
        if not hasattr(file, "read"):
            return read(file)
        text = file.read()
        if text not in known:
            file.seek(0)  # read from the file itself, whose name an error tells
            known[text] = pickle.dumps(read(file))
        return pickle.loads(known[text])

    return load
