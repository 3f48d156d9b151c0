"""One picture of a run's coarse animations: a row of frames a variant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from i2v3d.errors import ArtifactError
from i2v3d.figures.labelled import Panel, labelled_rows
from i2v3d.images import read_video

PANEL_PX = 192  # longest side of a frame
JPEG_QUALITY = 88


def write_strips(run: Path, variants: Sequence[str] | None, frames: int, out: Path) -> int:
    """Shows the previews of a run's variants below each other, `frames` of each; returns how many variants.

    run: results/RUN. variants: their names, in order (None: all, by name). Raises ArtifactError for previews that are
    not there.
    """
    names = variants or sorted(path.parent.parent.name for path in run.glob("*/preview/coarse.mp4"))
    if not names:
        raise ArtifactError(f"{run} holds no previews; run i2v3d preview with run={run.name}")
    rows = [(name, _row(run / name / "preview" / "coarse.mp4", frames)) for name in names]
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labelled_rows(rows, PANEL_PX)).save(out, quality=JPEG_QUALITY)  # PNG has none
    return len(rows)


def _row(video: Path, count: int) -> list[Panel]:
    """`count` frames of a video, evenly spread, the first and the last among them."""
    if not video.is_file():
        raise ArtifactError(f"{video} is missing; run i2v3d preview for that variant first")
    frames = read_video(video)
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int))
    return [Panel(f"frame {n + 1}", frames[n]) for n in chosen]
