"""YAML files of the configuration that Hydra does not read: plain data, no key twice."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from i2v3d.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML takes the last one without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value} stands twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Plain data of a file. Raises ConfigError if it cannot be read, is no YAML, or has a tag or a key twice."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); expected a text file of YAML") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no YAML that can be used: {yaml_reason(error)}; correct it") from error


def yaml_reason(error: yaml.YAMLError) -> str:
    """What is wrong and where, in a line."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return where + " ".join(str(problem or error).split())
