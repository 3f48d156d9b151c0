"""What of a composed configuration each stage takes, and which stages a variant runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from i2v3d.config.models import ModelsConfig
from i2v3d.config.names import check_name
from i2v3d.config.runtime import RuntimeConfig, TrackingConfig
from i2v3d.config.scene import PerceptionConfig
from i2v3d.config.sections import build
from i2v3d.errors import ConfigError, nearest
from i2v3d.stages.registry import STAGES
from i2v3d.stages.stage import Stage

TOLD = {int: "a whole number", bool: "true or false"}
TOP_LEVEL = {"run", "seed", "untrusted_scene"}


def validate_sections(config: Mapping[str, Any]) -> None:
    """Builds every section of a composed configuration, outer ones first.

    Raises ConfigError for the first unknown section or key, missing key, or wrong value.
    """
    sources = {source[0].path: source for stage in STAGES.values() for source in stage.sources.values()}
    known = {path.split(".")[0] for path in sources} | TOP_LEVEL | {"perception", "runtime", "tracking"}
    for name in config:
        if name not in known:
            raise ConfigError(f"{name} is not a section of the configuration; {nearest(name, known)}")
    check_name(select(config, "run"), "run")
    for name, kind in {"seed": int, "untrusted_scene": bool}.items():
        if type(value := select(config, name)) is not kind:
            raise ConfigError(f"{name} is {value!r}; expected {TOLD[kind]}")
    build(ModelsConfig, select(config, "models"), "models")
    build(PerceptionConfig, select(config, "perception"), "perception")
    build(RuntimeConfig, select(config, "runtime"), "runtime")
    build(TrackingConfig, select(config, "tracking"), "tracking")
    for path in sorted(sources, key=lambda path: path.count(".")):
        source, section = sources[path]
        if section is not None and not path.startswith("models."):  # `models` is built as a whole
            build(section, source.cut(select(config, path)), path)


def needed_stages(config: Mapping[str, Any]) -> list[Stage]:
    """The stages that a variant runs, in order: the last ones of the graph and all that lead to them."""
    read_by_some = frozenset[str]().union(*(stage.can_read() for stage in STAGES.values()))
    wanted = set(STAGES) - read_by_some
    for stage in reversed(STAGES.values()):
        if stage.name in wanted:
            wanted |= set(stage.reads(stage_config(stage, config)))
    return [stage for stage in STAGES.values() if stage.name in wanted]


def stage_config(stage: Stage, config: Mapping[str, Any]) -> dict[str, Any]:
    """Cuts a stage's part out of a composed configuration.

    A stage with the single option '' is configured by that section alone.
    """
    cut = {option: source.cut(select(config, source.path)) for option, (source, _) in stage.sources.items()}
    return cut.get("", cut)


def segment_frames(config: Mapping[str, Any]) -> int:
    """Frames of a segment, both keyframes included. Raises ConfigError for anything but a whole number."""
    value = select(config, "interpolate.segment_frames")
    if not isinstance(value, int):
        raise ConfigError(f"interpolate.segment_frames is {value!r}; input should be a whole number")
    return value


def select(config: Mapping[str, Any], path: str) -> Any:
    """What stands at a dotted path. Raises ConfigError if nothing does."""
    value: Any = config
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise ConfigError(f"{path} is missing; add it to the configuration")
        value = value[part]
    return value
