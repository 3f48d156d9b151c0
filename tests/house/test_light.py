"""`make check` with a light worker: every test runs once, and none where its file was not collected."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.light import ROOT, is_heavy
from tests.support.order import Together

LIGHT = ["tests/a.py::one", "tests/c.py::one", "tests/c.py::two"]
ALL = ["tests/a.py::one", "tests/b.py::one", "tests/c.py::one", "tests/c.py::two", "tests/d.py::one"]


class Worker:
    """Runs what it is sent at once. names: what it collected."""

    def __init__(self, names: list[str]) -> None:
        self.names, self.ran, self.shutting_down = names, list[str](), False
        self.gateway = SimpleNamespace(id="gw")
        self.waiting: list[int] = []

    def send_runtest_some(self, places: list[int]) -> None:
        self.waiting += places

    def shutdown(self) -> None:
        self.shutting_down = True


def distributed(*workers: Worker) -> None:
    """Runs all tests as `make check` distributes them, one at a time and worker by worker."""
    option = SimpleNamespace(loadscopereorder=False)
    config: Any = SimpleNamespace(getvalue=lambda name: ["popen"] * len(workers), option=option)
    tests = Together(config, None)
    for worker in workers:
        tests.add_node(worker)
        tests.add_node_collection(worker, worker.names)
    tests.schedule()
    while any(worker.waiting for worker in workers):
        for worker in workers:
            if worker.waiting:
                place = worker.waiting.pop(0)
                worker.ran.append(worker.names[place])
                tests.mark_test_complete(worker, place)
    assert tests.tests_finished


@pytest.mark.parametrize("light_comes_first", [True, False])
def test_every_test_runs_once_where_it_was_collected(light_comes_first: bool) -> None:
    full, light = Worker(ALL), Worker(LIGHT)
    distributed(*([light, full] if light_comes_first else [full, light]))
    assert sorted(full.ran + light.ran) == ALL and set(light.ran) <= set(LIGHT)
    assert full.ran[:2] == ["tests/b.py::one", "tests/d.py::one"], "first what nobody else can run"


def test_equal_workers_share_all(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = Worker(ALL), Worker(ALL)
    distributed(one, two)
    assert sorted(one.ran + two.ran) == ALL and one.ran and two.ran


def test_heavy_files_import_networks_themselves_or_through_the_package() -> None:
    heavy = {name for name in HEAVY_OR_NOT if is_heavy(ROOT / "tests" / name)}
    assert heavy == {"models/test_svd.py", "guidance/test_passes.py", "commands/test_time_infill.py"}


HEAVY_OR_NOT = (
    "models/test_svd.py",
    "guidance/test_passes.py",
    "commands/test_time_infill.py",
    "geometry/test_geometry.py",
    "workflow/test_composition.py",
    "commands/test_cli.py",
)
