"""A home that cannot be written stops nothing, and nothing is written to it."""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from i2v3d.config.runtime import TrackingConfig
from i2v3d.workflow.home import cache_of_home, may_write
from i2v3d.workflow.tracking import wandb as tracker

CACHES = ("XDG_CACHE_HOME", "WANDB_CACHE_DIR")


def test_the_cache_is_in_the_home_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    assert cache_of_home({"HOME": "/x"}) == Path("/x/.cache")
    assert cache_of_home({"HOME": "/x", "XDG_CACHE_HOME": "/y"}) == Path("/y")
    assert cache_of_home({}) == Path("/.cache")


def test_what_can_be_made_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert may_write(tmp_path) and may_write(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    assert not may_write(tmp_path / "file")
    monkeypatch.setattr(Path, "exists", Mock(side_effect=PermissionError(13, "Permission denied")))
    assert not may_write(tmp_path / "of somebody else")


@pytest.mark.parametrize("writable", [True, False])
def test_wandb_keeps_its_cache_beside_the_run_where_the_home_takes_none(
    writable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []

    def init(**_: object) -> Mock:
        seen.extend(os.environ.get(name) for name in CACHES)
        return Mock()

    for name in (*CACHES, "WANDB_DATA_DIR", "WANDB_MODE"):
        monkeypatch.setenv(name, "")  # so that it is as before after the test
        monkeypatch.delenv(name)
    monkeypatch.setattr("wandb.init", init)
    monkeypatch.setattr(tracker, "may_write", lambda folder: writable)
    assert tracker.start(TrackingConfig(mode="offline", project="p", entity=None), tmp_path, {}) is not None
    own = tmp_path.resolve() / "wandb" / "cache"
    assert seen == ([None, None] if writable else [str(own), str(own / "wandb")])
    assert "XDG_CACHE_HOME" not in os.environ, "other programs' caches stay where they are"
