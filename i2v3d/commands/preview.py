"""`i2v3d preview`: the coarse animation before any diffusion."""

from __future__ import annotations

from i2v3d.commands.parsers import Group, Options
from i2v3d.commands.run import add_launch_words, launch

TARGET = "preview"  # rule of the Snakefile


def add_parser(group: Group) -> None:
    """The same words as the whole workflow's."""
    parser = group.add(
        "preview",
        run,
        what="the coarse animation of a scene before any diffusion, within a minute",
        more="Writes results/RUN/VARIANT/preview/coarse.mp4 and sheet.png, without any weights; the whole workflow "
        "goes on from there.",
        examples=("i2v3d preview scene=coffee", "i2v3d preview scene=mug run=mug -- -n"),
    )
    add_launch_words(parser)


def run(options: Options) -> int:
    """Makes the previews of all variants."""
    return launch(options, [TARGET])
