"""What several files of tests look at and takes long to make."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.checkout import QUICK, make_checkout, snakemake


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which the quick experiment has run to its end; nobody changes what it made."""
    folder = make_checkout(tmp_path_factory.mktemp("finished") / "checkout")
    done = snakemake(folder, overrides=QUICK)
    assert done.returncode == 0, done.stdout[-5000:]
    return folder
