"""What snakemake watches of the shares of a stage: marks of the run's own, made by the jobs that make the shares."""

from __future__ import annotations

from pathlib import Path

from i2v3d.artifacts.shares import Share
from i2v3d.stages.registry import STAGES
from i2v3d.workflow.finished import OWN, is_finished
from i2v3d.workflow.plan import Node

SHARES = OWN / "shares"


def mark_share(mark: Path) -> None:
    """Says that a share, after which `mark` is called, is made. Raises OSError."""
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()


def share_marks(cache: Path, node: Node, count: int) -> list[Path]:
    """The marks of the `count` shares that are to be made before the job of a node that is not finished.

    Of a finished one, those that are there, of whatever count: snakemake makes a stage anew whose inputs become others.
    Marks whose shares are gone are removed.
    """
    folder, out = SHARES / node.stage / node.key, cache / node.stage / node.key
    marks = sorted(folder.glob("*-of-*"))
    if is_finished(out):
        return marks
    for mark in marks:
        if not Share.read(mark.name).folder(out).is_dir():
            mark.unlink(missing_ok=True)
    if count == 1 or not STAGES[node.stage].is_shared(node.config):
        return []
    return [folder / str(Share(number, count)) for number in range(1, count + 1)]
