"""Hydra words to plain configurations: one resolved dictionary per variant of a sweep."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from i2v3d.errors import ConfigError, I2V3DError, nearest

BASE = "base"
GLOBAL = "# @package _global_"  # first line of a file that sets values of any group


@dataclass(frozen=True)
class Variant:
    """One configuration of a run. overrides: the Hydra words that made it; config: resolved plain data."""

    name: str
    overrides: tuple[str, ...]
    config: dict[str, Any]


def compose_variants(
    conf: Path, words: Sequence[str], sweep: str | None = None, multirun: bool = False
) -> list[Variant]:
    """Composes conf/config.yaml once per variant.

    words: Hydra overrides common to all variants. sweep: name of conf/sweep/<name>.yaml, a mapping from
    variant to its list of overrides (an empty list is the unchanged base). multirun: expand
    comma-separated values and ranges in `words` by Hydra's grammar, one variant a combination.
    Raises ConfigError for anything that Hydra or the sweep file does not allow.
    """
    if sweep is not None and multirun:
        raise ConfigError("sweep=... and -m both make variants; use one of them")
    if sweep is not None:
        named = read_sweep(conf, sweep)
        return [_compose(conf, name, (*words, *extra)) for name, extra in named.items()]
    if multirun:
        return [_compose(conf, _slug(changed), (*fixed, *changed)) for fixed, changed in _expand(words)]
    return [_compose(conf, BASE, tuple(words))]


def _compose(conf: Path, name: str, overrides: tuple[str, ...]) -> Variant:
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    OmegaConf.register_new_resolver("toy_caption", _toy_caption, replace=True)
    OmegaConf.register_new_resolver("fitted_width", lambda *words: _fitted(*words)[0], replace=True)
    OmegaConf.register_new_resolver("fitted_height", lambda *words: _fitted(*words)[1], replace=True)
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(conf.resolve())):
            composed = compose("config", overrides=list(overrides))
            config = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        if (reason := _own(error)) is not None:
            raise reason from None
        raise ConfigError(_explain(conf, overrides, error)) from error
    assert isinstance(config, dict)
    return Variant(name, overrides, {str(key): value for key, value in config.items()})


def _own(error: BaseException | None) -> I2V3DError | None:
    """The error of this program that Hydra wrapped up in its own, if it did."""
    while error is not None and not isinstance(error, I2V3DError):
        error = error.__cause__ or error.__context__
    return error


def _fitted(width: Any, height: Any, aspect: Any) -> tuple[int, int]:
    """Resolves ${fitted_width:WIDTH,HEIGHT,ASPECT} and fitted_height: see `i2v3d.scene.photo.framing.fitted_size`."""
    from i2v3d.scene.photo.framing import fitted_size

    numbers = (width, height, aspect)
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and v > 0 for v in numbers):
        raise ConfigError(
            f"fitted size of {width!r} x {height!r} at aspect {aspect!r}: expected positive numbers"
        )
    return fitted_size(int(width), int(height), float(aspect))


def _toy_caption(seed: Any, variants: Any, index: Any) -> str:
    """Resolves ${toy_caption:SEED,VARIANTS,INDEX}: what a held-out clip of the toy world shows."""
    from i2v3d.toy.world.held_out import held_out_caption  # torch, which other scenes need not wait for

    for key, value in {"seed": seed, "variants": variants, "index": index}.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ConfigError(f"scene.{key} is {value!r}; expected a whole number, 0 or more")
    return held_out_caption(seed, variants, index)


def _explain(conf: Path, overrides: Sequence[str], error: Exception) -> str:
    """One line for Hydra's many: the offending word and the nearest valid name."""
    text = " ".join(f"{error} {error.__cause__ or ''}".split())
    if match := re.search(r"Could not find '([\w-]+)/([\w./-]+)'", text):
        group, choice = match.groups()
        return f"{group}={choice} does not exist; {nearest(choice, group_choices(conf, group))}"
    if match := re.search(r"Key '([^']+)' is not in struct full_key: (\S+)", text):
        key, full_key = match.groups()
        return f"{full_key} is not an option; {nearest(key, _sibling_keys(conf, full_key))}"
    if match := re.search(r"Could not override '([^']+)'.*?No match in the defaults list", text):
        return f"{match[1]} is not a configuration group; {nearest(match[1], _groups(conf))}"
    return f"cannot compose {' '.join(overrides) or 'the configuration'}: {text}"


def group_choices(conf: Path, group: str) -> list[str]:
    """The names that `group=NAME` accepts."""
    return sorted(p.stem for p in (conf / group).glob("*.yaml"))


def _groups(conf: Path) -> list[str]:
    return sorted(p.name for p in conf.iterdir() if p.is_dir())


def _sibling_keys(conf: Path, full_key: str) -> set[str]:
    """Keys that stand where `full_key` does, in any file of its group (or in config.yaml)."""
    group, *rest = full_key.split(".")
    files = sorted((conf / group).glob("*.yaml")) if rest else [conf / "config.yaml"]
    found: set[str] = set() if rest else set(_groups(conf))
    for file in files:
        text = file.read_text()
        node: Any = yaml.safe_load(text)
        for part in full_key.split(".")[:-1] if text.startswith(GLOBAL) else rest[:-1]:
            node = node.get(part) if isinstance(node, dict) else None
        found |= set(node) if isinstance(node, dict) else set()
    return found - {"defaults"}


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


def _expand(words: Sequence[str]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
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


def _slug(changed: Sequence[str]) -> str:
    """A folder name for a variant: 'keyframes.guidance=5' -> 'keyframes.guidance=5'."""
    return re.sub(r"[^\w.=+-]+", "_", ",".join(changed)) or BASE
