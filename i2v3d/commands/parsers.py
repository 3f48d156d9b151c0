"""What the commands' parsers have in common: groups with examples, one line for a mistake, types of arguments."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from i2v3d.errors import ConfigError

Options = argparse.Namespace
HELP_COLUMNS = 100


class Parser(argparse.ArgumentParser):
    """Raises ConfigError, one line, where argparse would print its usage and exit. paths: arguments that name files."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.paths: list[argparse.Action] = []
        super().__init__(*args, **options)

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:
        """As argparse's."""
        action = super().add_argument(*names, **options)
        if options.get("type") is Path:
            self.paths.append(action)
        return action

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")


@dataclass
class Group:
    """Commands that the help lists together. known: their names and what they do, in order.

    told: whether shells complete them; users do not call what the workflow calls.
    """

    title: str
    tree: Any  # argparse's private action of subparsers
    told: bool
    known: dict[str, str] = field(default_factory=dict)

    def add(
        self,
        name: str,
        run: Callable[[Options], int],
        *,
        what: str,
        more: str = "",
        examples: Sequence[str] = (),
    ) -> Parser:
        """A new command. what: one line of the listing; more: further sentences of its own help."""
        words = {"help": what} if self.told else {}
        sentence = what[0].upper() + what[1:]
        parser: Parser = self.tree.add_parser(
            name,
            description=textwrap.fill(f"{sentence}. {more}", HELP_COLUMNS),
            epilog="\n".join(["examples:", *(f"  {line}" for line in examples)]) if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **words,
        )
        parser.set_defaults(run=run, parser=parser)
        self.known[name] = what
        return parser


class Several(tuple[str, ...]):
    """Choices of an option that takes several of them. Lets Hydra words behind it pass, which are no values of it."""

    def __contains__(self, word: object) -> bool:
        return is_hydra_word(word) or super().__contains__(word)


def is_hydra_word(word: object) -> bool:
    """Whether a word sets an option of the configuration."""
    return isinstance(word, str) and "=" in word


def add_hydra_words(parser: Parser, *, snakemake: bool = False) -> None:
    """Hydra words anywhere on the line; snakemake: and, after --, words for snakemake, as options.snakemake."""
    parser.add_argument(
        "words", nargs="*", metavar="HYDRA_WORD", help="such as scene=coffee or lora.steps=20"
    )
    if snakemake:
        parser.set_defaults(snakemake=[])
        parser.usage = f"{parser.prog} [-h] [-m] [HYDRA_WORD ...] [-- SNAKEMAKE_WORD ...]"


def add_job_options(parser: Parser, source: str, meaning: str, out: str) -> None:
    """What the workflow gives to each of its jobs: --SOURCE, --cache, --out and --log."""
    parser.add_argument(f"--{source}", type=Path, required=True, help=meaning)
    parser.add_argument("--cache", type=Path, required=True, help="folder of all stages' finished folders")
    parser.add_argument("--out", type=Path, required=True, help=out)
    parser.add_argument("--log", type=Path, help="file for the full log, tracebacks included")


def pixels(text: str) -> tuple[int, int]:
    """Width and height of 'WIDTHxHEIGHT', such as 1024x576."""
    if not (match := re.fullmatch(r"([1-9]\d{0,4})[xX]([1-9]\d{0,4})", text.strip())):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size; expected WIDTHxHEIGHT in pixels, such as 1024x576"
        )
    return int(match[1]), int(match[2])


def positive(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no amount; expected a number above 0")
    return value


def count(text: str) -> int:
    """A whole number of at least 1."""
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no count; expected a whole number of at least 1")
    return int(text)
