"""All commands as one tree of parsers, and its help."""

from __future__ import annotations

import argparse
import functools
from dataclasses import dataclass

from i2v3d import __version__
from i2v3d.commands import (
    cameras,
    compile_kernels,
    completion,
    doctor,
    export,
    fetch,
    figure,
    loop,
    mesh,
    new,
    preview,
    preview_sheet,
    report,
    results,
    run,
    stage,
    strips,
    studio,
    time_infill,
    time_render,
    time_stages,
    time_threads,
    time_video,
)
from i2v3d.commands.parsers import Group, Parser, is_hydra_word
from i2v3d.errors import ConfigError, nearest

DESCRIPTION = """\
usage: i2v3d [-m] [HYDRA_WORD ...] [-- SNAKEMAKE_WORD ...]
       i2v3d COMMAND ...
       i2v3d COMMAND --help

One image in, a video with exact 3D control out. Without a command, runs the whole workflow with a configuration of
Hydra words, and hands everything after -- to snakemake:
  i2v3d                                        the default experiment, on all cores
  i2v3d scene=coffee keyframes.guidance=5      other values
  i2v3d -m keyframes.guidance=5,7.5            one variant a value; they share what is equal
  i2v3d scene=coffee -- -n                     only say what would run (or --dag, --report, --unlock, ...)
This equals: snakemake --cores all --config overrides="scene=coffee keyframes.guidance=5"
"""
# Title, modules in the order of the listing, whether users call them.
GROUPS = (
    ("commands", (run, new, preview, studio, fetch, doctor), True),
    (
        "tools",
        (
            cameras,
            export,
            mesh,
            figure,
            loop,
            strips,
            time_infill,
            time_render,
            time_stages,
            time_threads,
            time_video,
            compile_kernels,
            completion,
        ),
        True,
    ),
    ("called by the workflow, with frozen configurations", (stage, preview_sheet, results, report), False),
)


@dataclass(frozen=True)
class Tree:
    """The parser of all words, and the commands in groups."""

    parser: Parser
    groups: tuple[Group, ...]

    @property
    def commands(self) -> list[str]:
        """Every command's name."""
        return [name for group in self.groups for name in group.known]


class _Root(Parser):
    """Lists the commands by group, which argparse cannot."""

    groups: tuple[Group, ...] = ()

    def format_help(self) -> str:
        lines = [DESCRIPTION]
        for group in self.groups:
            lines.append(f"{group.title}:")
            lines += [f"  {name:<24} {what}" for name, what in group.known.items()]
            lines.append("")
        lines.append("-h, --help and --version tell this and the program's version")
        return "\n".join(lines) + "\n"


@functools.cache
def build_tree() -> Tree:
    """The parsers of all commands, made once a process."""
    root = _Root(prog="i2v3d", allow_abbrev=False)
    root.add_argument("--version", action="version", version=f"i2v3d {__version__}")
    commands = root.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    groups = []
    for title, modules, told in GROUPS:
        group = Group(title, commands, told)
        for module in modules:
            module.add_parser(group)
        groups.append(group)
    root.groups = tuple(groups)
    return Tree(root, root.groups)


def parse(words: list[str]) -> argparse.Namespace:
    """The chosen command's options, `run` among them, which does it. Without a command: that of the whole workflow.

    Raises ConfigError for words that make no sense, with the nearest ones that do; exits after --help and --version.
    """
    tree = build_tree()
    cut = words.index("--") if "--" in words else len(words)
    own, beyond = words[:cut], words[cut + 1 :]
    first = own[0] if own else ""
    if first not in ("-h", "--help", "--version", *tree.commands):
        if first and first[0] not in "-+~" and "=" not in first:
            raise ConfigError(
                f"{first} is no command of i2v3d, and no Hydra word such as scene=coffee; "
                f"{nearest(first, tree.commands)}"
            )
        own = ["run", *own]
    options, left = tree.parser.parse_known_args(own)
    if hasattr(options, "words"):  # argparse takes only the first of several runs of words
        options.words += [word for word in left if not word.startswith("-")]
        left = [word for word in left if word.startswith("-")]
        for name, values in list(vars(options).items()):
            if name != "words" and isinstance(values, list):  # of an option that takes all words behind it
                options.words += [word for word in values if is_hydra_word(word)]
                setattr(options, name, [word for word in values if not is_hydra_word(word)])
    launches = hasattr(options, "snakemake")
    if left:
        hint = "options of snakemake come after --, " if launches else ""
        raise ConfigError(f"{left[0]} is unknown; {hint}see {options.parser.prog} --help")
    if beyond and not launches:
        raise ConfigError(f"{options.parser.prog} hands nothing on, but {beyond[0]} stands after --")
    if launches:
        options.snakemake = beyond
    return options
