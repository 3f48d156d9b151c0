"""What several files of tests look at and takes long to make."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checkout import QUICK, make_checkout, snakemake
from tests.support.once import made_once
from tests.support.sweeps import SWEEPS


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which the quick experiment has run to its end; nobody changes what it made."""

    def make(folder: Path) -> None:
        done = snakemake(make_checkout(folder, SWEEPS), overrides=QUICK)
        assert done.returncode == 0, done.stdout[-5000:]

    return made_once(tmp_path_factory, "finished", make)


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """Commands set up logging; every test gets its own."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:], root.level = handlers, level
