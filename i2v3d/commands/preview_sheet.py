"""`i2v3d preview-sheet`: the files of one variant's preview, for its rule."""

from __future__ import annotations

from i2v3d.commands.parsers import Group, Options, add_job_options


def add_parser(group: Group) -> None:
    """A variant in, its preview out."""
    parser = group.add("preview-sheet", run, what="a planned variant's preview: coarse.mp4 and sheet.png")
    add_job_options(
        parser, "variant", "frozen variant file that the plan wrote", "results/<run>/<variant>/preview"
    )


def run(options: Options) -> int:
    """Writes both files."""
    from i2v3d.report.preview import write_preview

    write_preview(options.variant, options.cache, options.out)
    return 0
