"""Which variants a run has: a file of conf/sweep, or Hydra's own sweeps in the words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from i2v3d.errors import ConfigError, nearest
from i2v3d.workflow.misspelt import group_choices


def read_sweep(conf: Path, sweep: str) -> dict[str, list[str]]:
    """The variants of conf/sweep/<sweep>.yaml and their overrides. Raises ConfigError if it is not such a file."""
    path = conf / "sweep" / f"{sweep}.yaml"
    if not path.is_file():
        raise ConfigError(f"sweep={sweep} does not exist; {nearest(sweep, group_choices(conf, 'sweep'))}")
    data = yaml.safe_load(path.read_text())
    if not isinstance(data, dict) or not data:
        raise ConfigError(f"{path} must map variant names to lists of overrides")
    for name, extra in data.items():
        if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", str(name)):
            raise ConfigError(f"{path}: variant {name!r} must be a file name of letters, digits, . _ + -")
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
        jobs = BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]
    except HydraException as error:
        raise ConfigError(f"cannot expand {' '.join(words)}: {' '.join(str(error).split())}") from error
    swept = {i for i, override in enumerate(parsed) if override.is_sweep_override()}
    split = []
    for job in jobs:
        fixed = tuple(word for i, word in enumerate(job) if i not in swept)
        split.append((fixed, tuple(word for i, word in enumerate(job) if i in swept)))
    return split


def slug(changed: Sequence[str]) -> str:
    """A folder name for a variant: 'keyframes.guidance=5' -> 'keyframes.guidance=5'."""
    return re.sub(r"[^\w.=+-]+", "_", ",".join(changed)) or "base"
