"""`i2v3d results`: the folder of a finished variant, for its rule."""

from __future__ import annotations

from pathlib import Path

from i2v3d.commands.parsers import Group, Options, add_job_options


def add_parser(group: Group) -> None:
    """A variant in, its links out."""
    parser = group.add("results", run, what="links and records of a finished variant")
    add_job_options(parser, "variant", "frozen variant file that the plan wrote", "results/<run>/<variant>")
    parser.add_argument("--settings", type=Path, required=True, help="run settings that the plan wrote")


def run(options: Options) -> int:
    """Links the variant's finished folders and writes what made them."""
    from i2v3d.workflow.results import publish_variant

    publish_variant(options.variant, options.cache, options.settings, options.out)
    return 0
