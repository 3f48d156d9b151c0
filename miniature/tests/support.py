"""What the tests of this folder share."""

from __future__ import annotations

from miniature.__main__ import parse


def command(*words: object) -> None:
    """`python -m miniature WORDS` in this process; errors are raised as they are."""
    options = parse([str(word) for word in words])
    assert options.run(options) == 0
