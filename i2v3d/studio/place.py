"""Where the studio works: the folder it was started in, which files of it a page may name, and what it may read."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from i2v3d.config.names import check_name
from i2v3d.errors import ConfigError, InputError
from i2v3d.workflow.workplace import project_folder, set_up

RESULTS, SCENES = "results", "scenes"
SERVED = (".mp4", ".png", ".jpg", ".html", ".json", ".csv")  # of results/


@dataclass(frozen=True)
class Place:
    """here: the folder of runs. conf: of the configuration that runs see. own: the studio's logs, locks and meshes."""

    here: Path
    conf: Path

    @staticmethod
    def of(here: Path) -> Place:
        """Prepares a folder as runs do. Raises MachineError if it cannot be written."""
        return Place(here.resolve(), set_up(project_folder(), here.resolve()))

    def again(self) -> Place:
        """The same place once files of its conf/ have come or gone."""
        return Place.of(self.here)

    @property
    def own(self) -> Path:
        return self.here / RESULTS / ".jobs" / "studio"

    def editable(self, name: str) -> Path:
        """The conf/ that holds a scene's file which may be written: a shipped one is copied here first, since nothing
        is written into the project. Raises ConfigError for a bad name, or a scene that does not exist."""
        check_name(name, "scene")
        mine, seen = self.here / "conf" / "scene" / f"{name}.yaml", self.conf / "scene" / f"{name}.yaml"
        if not seen.is_file():
            raise ConfigError(f"scene={name} has no file {seen}; choose one of: {', '.join(self.scenes())}")
        if not mine.is_file():
            mine.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(seen, mine)
        return self.here / "conf"

    def scenes(self) -> list[str]:
        """Scenes that can be opened."""
        names = sorted(file.stem for file in (self.conf / "scene").glob("*.yaml"))
        return [name for name in names if name != "photo"]

    def result(self, path: str) -> Path:
        """A file below results/ by its path relative to it, links followed into the cache.

        Raises InputError for anything else: hidden names, other kinds of files, and what leads outside.
        """
        parts = Path(path).parts
        lexical = self.here / RESULTS / Path(*parts) if parts else self.here
        bad = not parts or any(part.startswith((".", "/", "~")) or "\\" in part for part in parts)
        if bad or lexical.suffix.lower() not in SERVED or not lexical.is_file():
            raise InputError(f"results/{path[:200]} is no picture, film or page of a run")
        if not any(lexical.resolve().is_relative_to(root) for root in self._roots()):
            raise InputError(f"results/{path[:200]} leads out of results/")
        return lexical

    def _roots(self) -> list[Path]:
        return [(self.here / RESULTS).resolve(), *self._caches()]

    def _caches(self) -> list[Path]:
        cache = self.here / RESULTS / ".cache"
        return [cache.resolve()] if cache.is_dir() else []
