"""The profile that a run asks for: snakemake passes over one that is nowhere, and would start its jobs right here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from i2v3d.errors import ConfigError, nearest

OPTION = "--workflow-profile"


def check_profile(words: Sequence[str], *workflows: Path) -> None:
    """Raises ConfigError if snakemake's `words` name a workflow profile that is neither a path nor one of `workflows`.

    workflows: folders of Snakefiles, which have profiles/ beside them.
    """
    places = [folder / "profiles" for folder in (Path(), *workflows)]
    for name in _named(words):
        if name != "none" and not any((place / name).exists() for place in (Path(), *places)):
            known = {path.name for place in places for path in place.glob("*/")}
            raise ConfigError(f"{OPTION} {name} does not exist; {nearest(name, known)}")


def _named(words: Sequence[str]) -> Iterator[str]:
    for word, following in zip(words, [*words[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        if option == OPTION and (value or not equals):
            yield value if equals else following
