"""Hydra composes equal words over equal files once a process: most tests begin with one of few configurations."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra


def _state() -> str:
    """A hash of all files of the configuration that Hydra was told of last, wherever it lies."""
    paths = GlobalHydra.instance().config_loader().get_search_path().get_path()
    (conf,) = (Path(urlparse(query.path).path) for query in paths if query.provider == "main")
    digest = hashlib.sha256()
    for folder, _, names in sorted(os.walk(conf, followlinks=True)):
        for name in sorted(name for name in names if name.endswith(".yaml")):
            file = Path(folder, name)
            digest.update(f"{file.relative_to(conf)}\n".encode() + file.read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="session", autouse=True)
def _composed_once() -> Iterator[None]:
    """`hydra.compose` remembers. What it composes is shared: `Composer` changes copies of it only."""
    plain, known = hydra.compose, {}

    def compose(config_name: str, overrides: list[str]) -> Any:
        asked = (_state(), config_name, *overrides)
        if asked not in known:
            known[asked] = plain(config_name, overrides=overrides)
        return known[asked]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hydra, "compose", compose)
        yield
