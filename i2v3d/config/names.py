"""Names that become folders, and words of commands: of runs, variants and files of the configuration."""

from __future__ import annotations

import re

from i2v3d.errors import ConfigError

LONGEST = 80  # bytes: a run's and a variant's together name a log
PATTERN = r"\w[\w.,=+-]*"


def check_name(name: object, what: str) -> str:
    """`name` as it is. what: the option that gives it.

    Raises ConfigError unless it is letters, digits and . _ , = + - only, a letter, digit or _ first, and short.
    """
    text = str(name) if isinstance(name, str | int) and not isinstance(name, bool) else ""
    if not re.fullmatch(PATTERN, text):
        raise ConfigError(
            f"{what} is {name!r}; expected a file name of letters, digits and . _ , = + -, without blanks, a letter or "
            "digit first"
        )
    if len(text.encode()) > LONGEST:
        raise ConfigError(
            f"{what} has {len(text.encode())} bytes, {text[:20]!r}...; expected at most {LONGEST}"
        )
    return text
