"""In which order several workers take the files of tests, and which files only one of them takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

MYPY = "mypy"  # takes as long as a whole file of tests, and nothing waits for it
ROOT = Path(__file__).parents[2]
# The units that take longest, longest first, as `--durations` tells; the order of the others hardly matters.
LONGEST = (
    "tests/studio/page/",
    "tests/parity/test_parity.py",
    "tests/report/test_benchmark.py",
    "tests/stages/test_interpolate_stage.py",
    "tests/geometry/test_scene_meshes.py",
    "miniature/tests/test_mini_resume.py",
    "tests/blender/test_events.py",
    "tests/report/test_shipped_previews.py",
    "tests/stages/test_scene_stage.py",
)

# Folders whose files are one unit, that one worker takes: they share what takes longer to start than a test, such as a
# browser. Every other file is a unit of its own.
TOGETHER = ("tests/studio/page/",)


def unit(file: str) -> str:
    """The unit of a file, whose path is relative to the project."""
    return next((folder for folder in TOGETHER if file.startswith(folder)), file)


class Together(LoadFileScheduling):
    """Gives every unit to one worker, and none to a worker that did not collect it, as the light one does."""

    def _split_scope(self, nodeid: str) -> str:
        return unit(str(super()._split_scope(nodeid)))

    def schedule(self) -> None:
        """As xdist does; the collection that counts, its first one, is the fullest."""
        if self.collection is None:
            fullest_first = sorted(self.registered_collections.items(), key=lambda entry: -len(entry[1]))
            self.registered_collections = dict(fullest_first)
            self.units = {node: {self._split_scope(name) for name in names} for node, names in fullest_first}
        super().schedule()

    def _check_nodes_have_same_collection(self) -> bool:
        """Whether a worker collected all that any collected."""
        fullest, *others = map(set, self.registered_collections.values())
        return all(map(fullest.issuperset, others)) or bool(super()._check_nodes_have_same_collection())

    def _assign_work_unit(self, node: WorkerController) -> None:
        """First what not all workers collected. One that came later, for one that crashed, collected all."""
        own = self.units.get(node, self.workqueue)
        fitting = [name for name in self.workqueue if name in own]
        if not fitting:
            node.shutdown()
            return
        first = min(fitting, key=lambda name: all(name in units for units in self.units.values()))
        self.workqueue.move_to_end(first, last=False)
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Together | None:
    """None: as xdist would."""
    return Together(config, log) if config.option.dist == "loadfile" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest units come first, so that no worker is left alone with one at the end; within one the order stays.

    First what makes the finished run, then mypy, which fills the other worker meanwhile, then the longest, then the
    units by the number of their slow tests. Others that look at the finished run come after these: they would only
    wait for it.
    """
    units: dict[str, list[pytest.Item]] = {}
    for item in items:
        units.setdefault(unit(item.path.relative_to(ROOT).as_posix()), []).append(item)
    finished = [name for name, members in units.items() if any(looks_at_finished(item) for item in members)]
    maker = max(finished, key=lambda name: len(units[name]), default=None)
    ordered = sorted(units, key=lambda name: (name != maker, *rank(name, units[name])))
    items[:] = [item for name in ordered for item in units[name]]


def looks_at_finished(item: pytest.Item) -> bool:
    """Whether a test looks at the finished run."""
    return "finished" in getattr(item, "fixturenames", ())


def rank(name: str, members: list[pytest.Item]) -> tuple[bool, int, int]:
    """Smaller is earlier. name: of the unit."""
    place = LONGEST.index(name) if name in LONGEST else len(LONGEST)
    slow = sum(item.get_closest_marker("slow") is not None for item in members)
    return not any(item.name.endswith(f"[{MYPY}]") for item in members), place, -slow
