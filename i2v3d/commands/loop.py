"""`i2v3d loop`: finished variants as a small picture that moves, or as a sheet."""

from __future__ import annotations

import sys
from pathlib import Path

from i2v3d.commands.parsers import Group, Options, count


def add_parser(group: Group) -> None:
    """Variants in, a picture out."""
    parser = group.add(
        "loop",
        run,
        what="finished variants, true, coarse and generated side by side, as one picture that moves",
        examples=(
            "i2v3d loop results/demo/base demo.webp",
            "i2v3d loop results/demo/base demo.png --columns 6",
            "i2v3d loop results/demo/base results/demo/single_stage both.webp",
        ),
    )
    parser.add_argument(
        "variants",
        type=Path,
        nargs="+",
        metavar="variant",
        help="results/RUN/VARIANT, after its run; of one shot",
    )
    parser.add_argument(
        "out", type=Path, help="picture to write: .webp or .gif moves, .png or .jpg is a sheet"
    )
    parser.add_argument(
        "--size", type=count, default=288, help="longest side of a frame, pixels (default: 288)"
    )
    parser.add_argument("--columns", type=count, default=6, help="frames of a sheet (default: 6)")


def run(options: Options) -> int:
    """Writes the picture."""
    from i2v3d.figures.loops import write_loop

    frames = write_loop(options.variants, options.size, options.columns, options.out)
    sys.stdout.write(f"{options.out}: {frames} frames, {options.out.stat().st_size / 1e3:.0f} kB\n")
    return 0
