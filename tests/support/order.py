"""In which order several workers take the tests, and what stays together."""

from __future__ import annotations

import pytest

FIRST = "mypy"  # takes as long as a whole file of tests, and nothing waits for it


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker takes a file, whose fixtures are made once; all tests of the finished run are one such group.

    The longest come first, so that no worker is left alone with one at the end: the finished run, mypy, then
    the files by the number of their slow tests. Within a group the order stays.
    """
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        groups.setdefault(group_of(item), []).append(item)
    for name, members in groups.items():
        for item in members:
            item.add_marker(pytest.mark.xdist_group(name))
    items[:] = [
        item for name in sorted(groups, key=lambda name: rank(name, groups[name])) for item in groups[name]
    ]


def group_of(item: pytest.Item) -> str:
    """What an item shares fixtures with: a name without characters of node ids."""
    if "finished" in getattr(item, "fixturenames", ()):
        return "finished"
    if item.name.endswith(f"[{FIRST}]"):
        return FIRST
    return item.path.stem


def rank(name: str, members: list[pytest.Item]) -> tuple[bool, bool, int]:
    """Smaller is earlier."""
    slow = sum(item.get_closest_marker("slow") is not None for item in members)
    return name != "finished", name != FIRST, -slow
