"""Options that are off leave keys as they were; those that are on change the keys of what reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.plan import Plan, _digest, make_plan
from i2v3d.workflow.silent_options import OFF, without_silent

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(scope="module")
def prints(tmp_path_factory: pytest.TempPathFactory) -> Fingerprints:
    return Fingerprints(tmp_path_factory.mktemp("prints") / "memo.json")


# What the miniature family has on.
OFF_WORDS = (
    "render.light=flat",
    "keyframes.strength=1",
    "keyframes.render_detail=0",
    "keyframes.render_colour=0",
    "interpolate.render_detail=0",
    "interpolate.drift_foreground=0",
    "interpolate.drift_background=0",
)


def plan(prints: Fingerprints, *words: str) -> Plan:
    return make_plan(compose_variants(CONF, [*OFF_WORDS, "interpolate.guidance=1.5", *words]), prints)


def test_no_key_knows_an_option_that_is_off(prints: Fingerprints) -> None:
    spoken = {stage: set(options) for stage, options in OFF.items()}
    for node in plan(prints).nodes:
        told = without_silent(node.config)
        for section, options in spoken.items():
            assert not options & set(told.get(section, {}))
        assert node.key == _digest(
            {
                "stage": node.stage,
                "version": node.version,
                "config": told,
                "files": node.files,
                "upstream": node.upstream,
                "segments": node.segments,
            }
        )


@pytest.mark.parametrize(
    ("word", "first"),
    [
        ("keyframes.solver=dpmpp_2m", {"keyframes"}),
        ("keyframes.unconditional_every=2", {"keyframes"}),
        ("keyframes.cache_interval=2", {"keyframes"}),
        ("keyframes.strength=0.5", {"keyframes"}),
        ("interpolate.solver=dpmpp_2m", {"interpolate", "interpolation_inversion"}),
        ("interpolate.unconditional_every=2", {"interpolate"}),
        ("interpolate.drift_foreground=0.05", {"interpolate"}),
        ("render.light=photo", {"render", "keyframe_inversion", "keyframes", "interpolation_inversion"}),
        ("keyframes.inversion.light=photo", {"keyframe_inversion", "keyframes"}),
        ("interpolate.inversion.light=photo", {"interpolation_inversion"}),
        ("assemble.light=photo", {"assemble"}),
    ],
)
def test_an_option_that_is_on_changes_the_keys_of_what_reads_it(
    prints: Fingerprints, word: str, first: set[str]
) -> None:
    before, after = (plan(prints, *words).variants[0].keys for words in ([], [word]))
    changed = {stage for stage, key in after.items() if key != before[stage]}
    behind = {"keyframes", "interpolate", "assemble", "evaluate"}
    assert first <= changed <= first | behind
    assert "keyframes" in first or "keyframes" not in changed
