"""Reads what is to be run, and spends no time on the rest, nor on what libraries keep."""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _pytest.logging import catching_logs

ALL_SLOW = re.compile(r"^pytestmark = pytest\.mark\.slow\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files of slow tests alone are not imported where slow tests are left out: they bring Blender and hypothesis."""
    if "not slow" not in config.option.markexpr or collection_path.suffix != ".py":
        return None
    return True if ALL_SLOW.search(collection_path.read_text(encoding="utf-8")) else None


SELDOM = (
    50_000,
    20,
    100,
)  # thresholds of `gc`: objects that no test keeps are few beside what libraries keep


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """What is imported now stays: no search for garbage looks at it, neither meanwhile nor later, nor now.

    Later searches are seldom, too: tests import much more, and a search takes longer than what it finds.
    """
    gc.disable()
    gc.set_threshold(*SELDOM)
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _attach_to_root(self: catching_logs[Any]) -> Any:
    """Sees what reaches the root, as our own logs do.

    pytest looks for logs that do not, among the thousands of all libraries and six times a test.
    """
    root = logging.getLogger()
    root.addHandler(self.handler)
    self.attached_loggers.append(root)
    if self.level is not None:
        self.handler.setLevel(self.level)
        self.orig_level = root.level
        root.setLevel(min(self.orig_level, self.level))
    return self.handler


catching_logs.__enter__ = _attach_to_root  # type: ignore[method-assign]
