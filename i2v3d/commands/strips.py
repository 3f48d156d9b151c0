"""`i2v3d strips`: one picture of a run's coarse animations."""

from __future__ import annotations

import sys
from pathlib import Path

from i2v3d.commands.parsers import Group, Options, count


def add_parser(group: Group) -> None:
    """A run in, a picture out."""
    parser = group.add(
        "strips",
        run,
        what="one picture of a run's previews, a row of frames a variant",
        examples=("i2v3d strips results/demo strips.png --frames 7",),
    )
    parser.add_argument("run_folder", metavar="run", type=Path, help="results/RUN, after i2v3d preview")
    parser.add_argument("out", type=Path, help="picture to write, .png or .jpg")
    parser.add_argument("--variants", nargs="*", help="their names, in order (default: all, by name)")
    parser.add_argument("--frames", type=count, default=5, help="frames of each (default: 5)")


def run(options: Options) -> int:
    """Writes the picture."""
    from i2v3d.figures.strips import write_strips

    shown = write_strips(options.run_folder, options.variants, options.frames, options.out)
    sys.stdout.write(f"{options.out}: {shown} variants\n")
    return 0
