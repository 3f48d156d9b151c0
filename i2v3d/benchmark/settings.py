"""Which clips and variants a benchmark compares: conf/benchmark and conf/mini_report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import yaml
from pydantic import Field

from i2v3d.config.bounds import Count, Index
from i2v3d.config.sections import build, section
from i2v3d.errors import ConfigError, nearest
from i2v3d.workflow.misspelt import group_choices

T = TypeVar("T")


@section
class BenchmarkSettings:
    """A comparison. scenes, first: number of clips and where to start. sweep: file of variants. reference: the one
    that others are compared with. overrides: Hydra words of all. shown: clips with videos in the report. confidence,
    resamples, seed: of the bootstrap over scenes."""

    scenes: Count
    first: Index
    sweep: str
    reference: str
    overrides: tuple[str, ...]
    shown: Count
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    resamples: Annotated[int, Field(ge=100)]
    seed: Index


@section
class MiniReportSettings:
    """What the miniature family is measured on. full, rivals: variants of `sweep`. view_deg: turn of the object in
    the shots that identity is judged by; gallery: objects among which the right one is to be found, itself included.
    aims: metric -> the least it should reach. shown: clips with pictures and videos."""

    scenes: Count
    first: Index
    sweep: str
    full: str
    rivals: Annotated[tuple[str, ...], Field(min_length=1)]
    view_deg: float
    gallery: Annotated[int, Field(ge=2)]
    aims: dict[str, float]
    shown: Count
    overrides: tuple[str, ...]


def load_settings(conf: Path, group: str, name: str, cls: type[T]) -> T:
    """Reads conf/<group>/<name>.yaml. Raises ConfigError for an unknown file, key or value."""
    path = conf / group / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(f"{group}={name} does not exist; {nearest(name, group_choices(conf, group))}")
    data = yaml.safe_load(path.read_text())
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must map the keys of the other files of its folder to values")
    return build(cls, data, f"{group}/{name}")
