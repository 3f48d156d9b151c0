"""One studio and one browser for all tests of the page in a worker: both take longer to start than a test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.studio.page.opened import Opened

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="package")
def finished_studio(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """The page of a folder with the finished run, in whose cache is what it made: only what is new has to run."""
    for module in ("viser", "playwright.sync_api"):
        pytest.importorskip(
            module, reason="the studio's page needs it: pip install 'i2v3d[studio]' playwright"
        )
    if CHROMIUM is None:
        pytest.skip("Chromium is missing: apt-get install chromium")
    from tests.studio.page.opened import opened_studio

    folder = tmp_path_factory.mktemp("studio")
    for name in (".cache", "demo"):
        shutil.copytree(finished / "results" / name, folder / "results" / name, symlinks=True)
    opening = opened_studio(folder, CHROMIUM)
    with pytest.MonkeyPatch.context() as there:
        there.chdir(folder)
        made = next(opening)
    yield made
    opening.close()


@pytest.fixture
def studio(finished_studio: Opened, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """The page with the scene as it is shipped, no matter what another test wrote; its console must stay silent."""
    monkeypatch.chdir(finished_studio.folder)
    finished_studio.restore()
    yield finished_studio
    assert finished_studio.complaints() == []
