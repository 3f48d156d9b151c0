"""Another seed for a segment: which keys change, and where the other segments come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from i2v3d.config.interpolate import InterpolateConfig
from i2v3d.config.sections import build
from i2v3d.errors import ConfigError
from i2v3d.stages.registry import STAGES
from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.plan import Plan, _digest, make_plan, upstream_dirs
from i2v3d.workflow.silent_options import without_silent

LONG = "scene.frames=29"  # four segments of the miniature


def _plan(tmp_path: Path, *words: str) -> Plan:
    variants = compose_variants(Path("conf"), [LONG, *words])
    return make_plan(variants, Fingerprints(tmp_path / "memo.json"))


def _interpolated(plan: Plan) -> dict[str, Any]:
    return {node.key: node for node in plan.nodes if node.stage == "interpolate"}


def test_no_key_knows_the_option_until_it_says_something(tmp_path: Path) -> None:
    variants = compose_variants(Path("conf"), [LONG])
    plain = make_plan(variants, Fingerprints(tmp_path / "memo.json"))
    node = next(node for node in plain.nodes if node.stage == "interpolate")
    assert node.config["interpolate"]["segment_seeds"] is None and not node.lent
    config = without_silent(node.config)
    assert "segment_seeds" not in config["interpolate"]
    before = {"stage": node.stage, "version": node.version, "config": config, "files": node.files,
              "upstream": node.upstream, "segments": node.segments}  # fmt: skip
    assert node.key == _digest(before)


def test_only_the_segment_and_what_reads_it_are_made_anew(tmp_path: Path) -> None:
    apart = "interpolate.conditioning=keyframes"
    plain, other = _plan(tmp_path, apart), _plan(tmp_path, apart, "interpolate.segment_seeds={1:7}")
    (before,) = _interpolated(plain).values()
    nodes = _interpolated(other)
    after = nodes[other.variants[0].keys["interpolate"]]
    assert set(nodes) == {before.key, after.key}
    assert after.lent == {"0": before.key, "2": before.key, "3": before.key}
    changed = {s for s, key in other.variants[0].keys.items() if key != plain.variants[0].keys[s]}
    assert changed == {"interpolate", "assemble", "evaluate"}
    cache = Path("cache")
    assert upstream_dirs(cache, after, 2) == [cache / "interpolate" / before.key / "segment_002"]
    assert upstream_dirs(cache, after, 1) == [
        cache / stage / key / ("segment_001" if STAGES[stage].per_segment else "")
        for stage, key in after.upstream.items()
    ]


def test_chained_segments_after_it_are_made_anew_too(tmp_path: Path) -> None:
    chained = "interpolate.conditioning=chained"
    plain = _plan(tmp_path, chained)
    other = _plan(tmp_path, chained, "interpolate.segment_seeds={1:7,2:9}")
    (before,) = _interpolated(plain).values()
    after = _interpolated(other)[other.variants[0].keys["interpolate"]]
    first = _interpolated(other)[after.lent["1"]]
    assert after.lent == {"0": before.key, "1": first.key}
    assert first.lent == {"0": before.key}


def test_a_segments_seed(tmp_path: Path) -> None:
    (variant,) = compose_variants(Path("conf"), ["interpolate.segment_seeds={1:7}", "seed=5"])
    section = {k: v for k, v in variant.config["interpolate"].items() if k != "inversion"}
    settings = build(InterpolateConfig, section, "interpolate")
    assert [settings.seed_of(segment) for segment in (0, 1, 2)] == [5, 7, 5]
    with pytest.raises(ConfigError, match="segment_seeds"):
        build(InterpolateConfig, {**section, "segment_seeds": {"one": 7}}, "interpolate")


def test_a_segment_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="segments 0 to 3"):
        _plan(tmp_path, "interpolate.segment_seeds={4:7}")
