"""What snakemake watches instead of a finished folder: a link of the run's own, so that a shared cache stays whole.

Snakemake removes outputs that it wants to make, that were not there when it planned, or whose job failed. The
folders of the cache belong to everybody who shares it: a job publishes one by a rename, and nobody changes it.
"""

from __future__ import annotations

import os
from pathlib import Path

RECORD = "stage.json"  # in every finished folder, written last
OWN = Path("results", ".jobs")  # of the folder that a run is started in
FINISHED = OWN / "finished"


def is_finished(folder: Path) -> bool:
    """Whether a folder of the cache is published."""
    return (folder / RECORD).is_file()


def link_of(cache: Path, folder: Path) -> Path:
    """The link that says that a folder of the cache is finished; it points at the folder's record."""
    return FINISHED / folder.relative_to(cache)


def link_finished(folder: Path, link: Path) -> None:
    """Points `link` at the record of a finished folder, as old as that; a link that does so already stays.

    The link is relative where `folder` is, so that both can be moved together. Raises OSError if the record is missing.
    """
    record = folder / RECORD
    target = record if record.is_absolute() else Path(os.path.relpath(record, link.parent))
    if link.is_symlink() and link.readlink() == target:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    made = record.stat().st_mtime_ns
    sibling = link.with_name(f".{link.name}.tmp-{os.getpid()}")
    sibling.unlink(missing_ok=True)
    sibling.symlink_to(target)
    os.utime(sibling, ns=(made, made), follow_symlinks=False)
    sibling.replace(link)


def watched(cache: Path, folder: Path) -> tuple[Path, bool]:
    """The link of a folder, brought in line with the cache, and whether the folder is finished.

    What another run has finished is linked, and a link to a folder that somebody removed is removed.
    """
    link = link_of(cache, folder)
    finished = is_finished(folder)
    if finished:
        link_finished(folder, link)
    else:
        link.unlink(missing_ok=True)
    return link, finished
