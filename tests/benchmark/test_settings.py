"""The benchmark's settings: the shipped files are complete, and what cannot be is refused while planning."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from i2v3d.benchmark.plan_benchmark import plan_benchmark
from i2v3d.benchmark.settings import BenchmarkSettings, load_settings
from i2v3d.errors import ConfigError

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
SMALL = (
    "scene.width=96",
    "scene.height=64",
    "scene.samples=1",
    "scene.frames=5",
    "interpolate.segment_frames=3",
)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"reference": "bsae"}, "did you mean 'base'"),
        ({"scenes": 4}, "use a multiple"),
        ({"overrides": ("keyframes.stpes=3",)}, "did you mean 'steps'"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(ROOT)
    shipped = load_settings(CONF, "benchmark", "quick", BenchmarkSettings)
    quick = dataclasses.replace(shipped, sweep="injection", overrides=(), shown=1)
    with pytest.raises(ConfigError, match=message):
        plan_benchmark(CONF, tmp_path, dataclasses.replace(quick, **changed), None, list(SMALL))


def test_settings_files_are_complete() -> None:
    for path in (CONF / "benchmark").glob("*.yaml"):
        load_settings(CONF, "benchmark", path.stem, BenchmarkSettings)
    with pytest.raises(ConfigError, match="did you mean 'quick'"):
        load_settings(CONF, "benchmark", "quik", BenchmarkSettings)
