"""`i2v3d completion`: the script with which a shell completes commands and options."""

from __future__ import annotations

import sys

from i2v3d.commands.parsers import Group, Options

SHELLS = ("bash", "zsh", "fish")


def add_parser(group: Group) -> None:
    """A shell's name in, its script on standard output."""
    parser = group.add(
        "completion",
        run,
        what="prints the script with which your shell completes commands and options",
        examples=(
            'eval "$(i2v3d completion bash)"                                 # in ~/.bashrc',
            "i2v3d completion zsh > ~/.zfunc/_i2v3d                         # a folder of $fpath",
            "i2v3d completion fish > ~/.config/fish/completions/i2v3d.fish",
        ),
    )
    parser.add_argument("shell", choices=SHELLS, help="which shell")


def run(options: Options) -> int:
    """Prints the script."""
    import shtab

    from i2v3d.commands.tree import build_tree

    tree = build_tree()
    for group in tree.groups:
        for parser in group.tree.choices.values():
            for action in parser.paths:
                action.complete = shtab.FILE
    sys.stdout.write(shtab.complete(tree.parser, shell=options.shell) + "\n")
    return 0
