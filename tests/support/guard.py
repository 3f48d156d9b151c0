"""Refuses Blender, snakemake and the shipped networks to tests that are not marked `slow`.

`make check` leaves the marked tests out, so that a change is answered within seconds; an unmarked test that
starts one of them would spoil that, and fails here.
"""

from __future__ import annotations

import builtins
import functools
import io
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STARTS = re.compile(r"\bsnakemake\b|\bimport\b[^;\n]*\bbpy\b|\bi2v3d\.blender\.inside\b")
SHIPPED = str(ROOT / "weights" / "mini")
NETWORK_FILE = (
    "config.json"  # what `LOADS` of diffusers and transformers reads first; weights are read elsewhere
)
LOADS = "from_pretrained"


class Guard:
    """Watches what this process starts and opens while tests run.

    now: the test that runs, None between tests. broken: what the present test did although it is not marked.
    slow_fixtures: fixtures that once started something; they count for every test that asks for them.
    """

    def __init__(self) -> None:
        self.now: pytest.Item | None = None
        self.fixtures: list[
            tuple[str, str]
        ] = []  # where a fixture holds (the start of node ids), and its name
        self.slow_fixtures: set[tuple[str, str]] = set()
        self.broken: list[str] = []

    def before_start(self, command: object) -> None:
        """A process is to be started."""
        words = " ".join(map(str, _words(command)))
        if self.now is not None and STARTS.search(words):
            self.found(f"starts {words[:80]}")

    def before_open(self, file: object) -> None:
        """A file is to be opened."""
        if self.now is not None and _is_shipped_network(file):
            self.found(f"loads {file}")

    def found(self, what: str) -> None:
        """Notes it for the fixtures under way; raises AssertionError in a test that is not marked."""
        self.slow_fixtures.update(self.fixtures)
        if self.now is not None and self.now.get_closest_marker("slow") is None:
            self.broken.append(what)
            raise AssertionError(f"this test is not marked slow and {what}")


def _words(command: object) -> list[object]:
    return list(command) if isinstance(command, list | tuple) else [command]


def _is_shipped_network(path: object) -> bool:
    """Whether this is a shipped network's configuration, read in order to load it and not to plan with it."""
    if not isinstance(path, str | Path) or not str(path).endswith(NETWORK_FILE):  # of nearly every file
        return False
    if Path(path).name != NETWORK_FILE:
        return False
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_name != LOADS:
        frame = frame.f_back
    return frame.f_code.co_name == LOADS and str(Path(path).resolve()).startswith(SHIPPED)


def _watched(call: Callable[..., Any], before: Callable[[Any], None], place: int) -> Callable[..., Any]:
    """`call`, whose argument number `place` `before` sees first."""

    @functools.wraps(call)
    def watched(*arguments: Any, **options: Any) -> Any:
        if len(arguments) > place:
            before(arguments[place])
        elif "args" in options:  # of Popen
            before(options["args"])
        return call(*arguments, **options)

    return watched


GUARD = Guard()
# No audit hook of Python: it would be called for every `id()` as well, hundreds of thousands of times a second.
subprocess.Popen.__init__ = _watched(subprocess.Popen.__init__, GUARD.before_start, 1)  # type: ignore[method-assign]
builtins.open = io.open = _watched(builtins.open, GUARD.before_open, 0)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Iterator[None]:
    """Knows which fixtures are being made; those with parameters may be slow with some of them only."""
    before, plain = GUARD.fixtures, fixturedef.params is None
    GUARD.fixtures = [*before, (fixturedef.baseid, fixturedef.argname)] if plain else []
    try:
        return (yield)
    finally:
        GUARD.fixtures = before


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Watches one test, its fixtures included."""
    GUARD.now, GUARD.broken = item, []
    try:
        return (yield)
    finally:
        GUARD.now = None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fails a test that swallowed the refusal, or stands on a fixture that another test had made before."""
    result = yield
    values = item.callspec.params if hasattr(item, "callspec") else {}  # parameters may bear a fixture's name
    asked = [name for name in getattr(item, "fixturenames", ()) if name not in values]
    names = {name for where, name in GUARD.slow_fixtures if name in asked and item.nodeid.startswith(where)}
    if item.get_closest_marker("slow") is None and (GUARD.broken or names):
        pytest.fail(f"this test is not marked slow and {', '.join(GUARD.broken) or f'uses {sorted(names)}'}")
    return result
