"""What a user meant: one line for a word that Hydra refuses, with the nearest right one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from yaml import YAMLError

from i2v3d.config.yaml_files import yaml_reason
from i2v3d.errors import ConfigError, nearest

ASKED_OF_SNAKEMAKE = ("sweep", "benchmark")  # folders of conf/ that no Hydra word chooses from
GLOBAL = "# @package _global_"  # first line of a file that sets values of any group


def explain(conf: Path, overrides: Sequence[str], error: Exception) -> str:
    """One line for Hydra's many: the offending word and the nearest valid name."""
    if isinstance(error, YAMLError):
        return (
            f"a file of {conf} is no YAML that can be used: {_file_of(error)}{yaml_reason(error)}; correct it"
        )
    if isinstance(error, RecursionError):
        return (
            f"cannot compose {' '.join(overrides)}: the defaults of its files name each other in a circle, or values "
            "lie hundreds of levels deep; cut it"
        )
    text = " ".join(f"{error} {error.__cause__ or ''}".split())
    if "LexerNoViableAlt" in text and (word := next((w for w in overrides if not plain_word(w)), None)):
        return (
            f"{word[:100]!r} holds letters that are read in quotes only; write the value as "
            f"\"{word.partition('=')[0][:40]}='VALUE'\""
        )
    if match := re.search(r"Could not find '([\w-]+)/([\w./-]*)'", text):
        group, choice = match.groups()
        return _no_choice(conf, group, choice)
    if match := re.search(r"Key '([^']+)' is not in struct full_key: (\S+)", text):
        key, full_key = match.groups()
        return f"{full_key} is not an option; {nearest(key, _sibling_keys(conf, full_key))}"
    if match := re.search(r"Could not override '([^']+)'.*?No match in the defaults list", text):
        group = match[1]
        word = next((word for word in overrides if word.startswith(f"{group}=")), group)
        if group in ASKED_OF_SNAKEMAKE:
            target = "benchmark " if group == "benchmark" else ""
            return (
                f"{word} is no Hydra word; snakemake takes it: snakemake --cores all {target}--config {word}"
            )
        return f"{group} is not a configuration group; {nearest(group, _groups(conf))}"
    return f"cannot compose {' '.join(overrides) or 'the configuration'}: {text}"


def plain_word(word: str) -> bool:
    """Whether Hydra reads a word alone: of letters beyond English a quoted value may hold any."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_overrides([word])
    except HydraException:
        return False
    return True


def group_choices(conf: Path, group: str) -> list[str]:
    """The names that `group=NAME` accepts."""
    return sorted(p.stem for p in (conf / group).glob("*.yaml"))


def check_choice(conf: Path, group: str, name: str) -> None:
    """Raises ConfigError with the nearest names if conf/<group>/<name>.yaml does not exist."""
    if not (conf / group / f"{name}.yaml").is_file():
        raise ConfigError(_no_choice(conf, group, name))


def _no_choice(conf: Path, group: str, name: str) -> str:
    return f"{group}={name} does not exist; {nearest(name, group_choices(conf, group))}"


def _groups(conf: Path) -> list[str]:
    return sorted(p.name for p in conf.iterdir() if p.is_dir() and p.name not in ASKED_OF_SNAKEMAKE)


def _sibling_keys(conf: Path, full_key: str) -> set[str]:
    """Keys that stand where `full_key` does, in any file of its group, parts of files included (or in config.yaml)."""
    group, *rest = full_key.split(".")
    files = sorted((conf / group).rglob("*.yaml")) if rest else [conf / "config.yaml"]
    found: set[str] = set() if rest else set(_groups(conf))
    for file in files:
        text = file.read_text(errors="replace")
        node: Any = yaml.load(text, yaml.BaseLoader)
        for part in full_key.split(".")[:-1] if text.startswith(GLOBAL) else rest[:-1]:
            node = node.get(part) if isinstance(node, dict) else None
        found |= set(node) if isinstance(node, dict) else set()
    return found - {"defaults"}


def _file_of(error: YAMLError) -> str:
    """The file that the error stands in, if it says so."""
    name = getattr(getattr(error, "problem_mark", None), "name", "")
    return f"{name}, " if str(name).endswith(".yaml") else ""
