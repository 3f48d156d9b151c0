"""Which variants a run has: a file of conf/sweep, or Hydra's own sweeps in the words."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from i2v3d.config.names import LONGEST, check_name
from i2v3d.config.yaml_files import read_yaml
from i2v3d.errors import ConfigError
from i2v3d.workflow.misspelt import check_choice

MOST = 10_000  # variants of one run
TAKEN = ("comparison.html", "comparison.csv", "failures.csv")  # beside the variants, in results/RUN


def read_sweep(conf: Path, sweep: str) -> dict[str, list[str]]:
    """The variants of conf/sweep/<sweep>.yaml and their overrides. Raises ConfigError if it is not such a file."""
    check_name(sweep, "sweep")
    check_choice(conf, "sweep", sweep)
    path = conf / "sweep" / f"{sweep}.yaml"
    data = read_yaml(path)
    if not isinstance(data, dict) or not data:
        raise ConfigError(f"{path} must map variant names to lists of overrides")
    for name, extra in data.items():
        check_name(name, f"{path}: variant")
        if str(name).casefold() in TAKEN:
            raise ConfigError(
                f"{path}: variant {name} would have the name of a run's own file; choose another"
            )
        if not isinstance(extra, list) or not all(isinstance(word, str) for word in extra):
            raise ConfigError(
                f"{path}: variant {name} must hold a list of overrides such as [keyframes.steps=8]"
            )
    return {str(name): extra for name, extra in data.items()}


def expand(words: Sequence[str]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Expands sweeps in Hydra's grammar: [(words equal in all variants, words of this variant), ...]."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_overrides(list(words))
        _check_number(parsed)
        jobs = BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]
    except HydraException as error:
        raise ConfigError(f"cannot expand {' '.join(words)}: {' '.join(str(error).split())}") from error
    swept = {i for i, override in enumerate(parsed) if override.is_sweep_override()}
    split = []
    for job in jobs:
        fixed = tuple(word for i, word in enumerate(job) if i not in swept)
        split.append((fixed, tuple(word for i, word in enumerate(job) if i in swept)))
    return split


def _check_number(parsed: Sequence[Any]) -> None:
    """Raises ConfigError for more variants than anybody waits for, before they are counted one by one."""
    number = 1
    for override in parsed:
        if override.value_type is not None and override.value_type.name == "GLOB_CHOICE_SWEEP":
            raise ConfigError(f"-m {override.input_line} names no values; write them out: A,B,C")
        if override.is_sweep_override():
            number *= len(list(islice(override.sweep_string_iterator(), MOST + 1)))
            if number > MOST:
                raise ConfigError(
                    f"-m with {override.input_line} makes more than {MOST} variants; give fewer values"
                )


def named_apart(variants: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """Folder names of variants, by the words that tell them apart; words that are there twice are one variant.

    'keyframes.guidance=5' is its own name. Names that would be equal (on some disks 'A' equals 'a'), or too long for a
    folder, end in a hash of the words.
    """
    slugs = {words: _slug(words) for words in variants}
    folded = Counter(slug.casefold() for slug in slugs.values())
    return {
        words: slug
        if folded[slug.casefold()] == 1 and len(slug.encode()) <= LONGEST
        else _hashed(slug, words)
        for words, slug in slugs.items()
    }


def _slug(changed: Sequence[str]) -> str:
    return re.sub(r"[^\w.=+-]+", "_", ",".join(changed)).lstrip(".=+-") or "base"


def _hashed(slug: str, words: Sequence[str]) -> str:
    digest = hashlib.sha256("\n".join(words).encode()).hexdigest()[:8]
    kept = slug.encode()[: LONGEST - len(digest) - 1].decode(errors="ignore")
    return f"{kept}-{digest}"
