"""One studio and one browser for all tests of the page in a worker: both take longer to start than a test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.studio.opened import Opened

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="package")
def finished_studio(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """The page of a folder whose cache holds what the finished run made, so that only what is new has to run."""
    for module in ("viser", "playwright.sync_api"):
        pytest.importorskip(
            module, reason="the studio's page needs it: pip install 'i2v3d[studio]' playwright"
        )
    if CHROMIUM is None:
        pytest.skip("Chromium is missing: apt-get install chromium")
    from tests.studio.opened import opened_studio

    folder = tmp_path_factory.mktemp("studio")
    shutil.copytree(finished / "results" / ".cache", folder / "results" / ".cache", symlinks=True)
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield from opened_studio(folder, CHROMIUM)
    finally:
        os.chdir(before)


@pytest.fixture
def studio(finished_studio: Opened) -> Iterator[Opened]:
    """The page with the scene as it is shipped, no matter what another test wrote; its console must stay silent."""
    finished_studio.restore()
    yield finished_studio
    assert finished_studio.complaints() == []
