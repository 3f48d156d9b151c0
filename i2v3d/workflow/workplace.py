"""A folder that runs are started in, apart from the project: its own conf/, scenes/ and weights/ count first.

What it lacks comes from the project by links, so that a scene's and a weight's path, which keys contain, is the same
wherever the project lies, and nothing is ever written into the project.
"""

from __future__ import annotations

import os
from pathlib import Path

from i2v3d.errors import MachineError
from i2v3d.workflow.finished import OWN

SHIPPED = ("scenes", "weights")  # folders of the project, of which each entry is linked by itself


def project_folder() -> Path:
    """Where Snakefile, rules, conf, scenes and weights lie: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    shipped = package / "project"
    return shipped if shipped.is_dir() else package.parent


def set_up(project: Path, here: Path) -> Path:
    """Prepares `here` for runs of `project`; returns the folder of the configuration.

    That is the project's, or, where `here` has a conf/ of its own, one of links in which its files stand before the
    project's. Raises MachineError if `here` cannot be written.
    """
    if here.resolve() == project.resolve():
        return project / "conf"
    try:
        for name in SHIPPED:
            if (project / name).is_dir():
                _lend(project / name, here / name)
        own = here / "conf"
        if not own.is_dir() or own.resolve() == (project / "conf").resolve():
            return project / "conf"
        joint = here / OWN / "conf"
        _join([project / "conf", own], joint)
    except OSError as error:
        raise MachineError(
            f"{error.filename or here} cannot be written ({error.strerror}); start in a folder of your own, or choose "
            "one with snakemake --directory FOLDER"
        ) from error
    return joint


def _lend(source: Path, target: Path) -> None:
    """Links every entry of `source` that `target` has none of; links to an entry that has moved are renewed."""
    if target.resolve() == source.resolve():
        return
    target.mkdir(exist_ok=True)
    for entry in sorted(source.iterdir()):
        link = target / entry.name
        if not link.exists():
            _point(link, entry)


def _join(sources: list[Path], joint: Path) -> None:
    """Makes `joint` a tree of links to the YAML files of all sources, of which later ones win."""
    wanted = {file.relative_to(s): file.absolute() for s in sources for file in sorted(s.rglob("*.yaml"))}
    for old in joint.rglob("*.yaml"):
        if old.relative_to(joint) not in wanted:
            old.unlink()
    for name, file in wanted.items():
        link = joint / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink() or link.readlink() != file:
            _point(link, file)


def _point(link: Path, target: Path) -> None:
    """Makes a link appear in one piece, also where several jobs do."""
    sibling = link.with_name(f".{link.name}.tmp-{os.getpid()}")
    sibling.unlink(missing_ok=True)
    sibling.symlink_to(target.absolute())
    sibling.replace(link)
