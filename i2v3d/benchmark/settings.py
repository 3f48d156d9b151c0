"""Which clips and variants a benchmark compares: conf/benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field

from i2v3d.config.bounds import LARGEST, Count, Index
from i2v3d.config.names import check_name
from i2v3d.config.sections import build, section
from i2v3d.config.yaml_files import read_yaml
from i2v3d.errors import ConfigError
from i2v3d.workflow.misspelt import check_choice

T = TypeVar("T")


@section
class BenchmarkSettings:
    """A comparison. scenes, first: number of clips and where to start; clips: their own numbers instead. sweep: file of
    variants. reference: the one that others are compared with. overrides: Hydra words of all. shown: clips with videos
    in the report. confidence, resamples, seed: of the bootstrap over scenes."""

    scenes: Count
    first: Index
    clips: Annotated[tuple[Index, ...], Field(min_length=1)] | None
    sweep: str
    reference: str
    overrides: tuple[str, ...]
    shown: Count
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    resamples: Annotated[int, Field(ge=100, le=LARGEST)]
    seed: Index


def load_settings(conf: Path, group: str, name: str, cls: type[T]) -> T:
    """Reads conf/<group>/<name>.yaml. Raises ConfigError for an unknown file, key or value."""
    check_name(name, group)
    check_choice(conf, group, name)
    path = conf / group / f"{name}.yaml"
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must map the keys of the other files of its folder to values")
    return build(cls, data, f"{group}/{name}")
