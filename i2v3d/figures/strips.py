"""One picture of a run's coarse animations: a row of frames a variant."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from i2v3d.errors import ArtifactError, ConfigError
from i2v3d.figures.labelled import Panel, labelled_rows
from i2v3d.images import read_video

PANEL_PX = 192  # longest side of a frame
JPEG_QUALITY = 88


def main(words: Sequence[str]) -> int:
    """Shows the previews of a run's variants below each other, a row of frames each."""
    parser = argparse.ArgumentParser(prog="i2v3d strips", description=main.__doc__)
    parser.add_argument("run", type=Path, help="results/RUN, after i2v3d preview")
    parser.add_argument("out", type=Path, help="picture to write, .png or .jpg")
    parser.add_argument("--variants", nargs="*", help="their names, in order (default: all, by name)")
    parser.add_argument("--frames", type=int, default=5, help="frames of each (default: 5)")
    options = parser.parse_args(words)
    names = options.variants or sorted(
        path.parent.parent.name for path in options.run.glob("*/preview/coarse.mp4")
    )
    if not names:
        raise ArtifactError(f"{options.run} holds no previews; run i2v3d preview with run={options.run.name}")
    if options.frames < 1:
        raise ConfigError(f"--frames is {options.frames}; expected at least 1")
    rows = [(name, _row(options.run / name / "preview" / "coarse.mp4", options.frames)) for name in names]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labelled_rows(rows, PANEL_PX)).save(options.out, quality=JPEG_QUALITY)  # PNG has none
    sys.stdout.write(f"{options.out}: {len(rows)} variants\n")
    return 0


def _row(video: Path, count: int) -> list[Panel]:
    """`count` frames of a video, evenly spread, the first and the last among them."""
    if not video.is_file():
        raise ArtifactError(f"{video} is missing; run i2v3d preview for that variant first")
    frames = read_video(video)
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int))
    return [Panel(f"frame {n + 1}", frames[n]) for n in chosen]
