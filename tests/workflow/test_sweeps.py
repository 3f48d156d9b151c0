"""The shipped sweeps: what they hold, how much their variants share, and what a variant more costs."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import yaml

from i2v3d.workflow import composition, plan
from i2v3d.workflow.agreement import check_options
from i2v3d.workflow.composition import Variant, compose_variants
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.plan import Plan, make_plan

ROOT = Path(__file__).parents[2]
SHARE = 0.4  # of the jobs that ten variants would need alone


@cache
def composed(name: str, words: tuple[str, ...] = ()) -> list[Variant]:
    return compose_variants(ROOT / "conf", list(words), sweep=name)


def planned(folder: Path, variants: list[Variant]) -> Plan:
    return make_plan(variants, Fingerprints(folder / "memo.json"))


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def stage_jobs(plan: Plan) -> int:
    """Jobs if segments count as one: the nodes."""
    return len(plan.nodes)


def test_a_sweep_of_ten_ways_and_base_runs_at_most_two_fifths_of_their_jobs(tmp_path: Path) -> None:
    plan = planned(tmp_path, composed("fusion"))
    assert len(plan.variants) == 11
    assert plan.jobs() <= SHARE * plan.jobs_unshared()
    assert stage_jobs(plan) <= SHARE * sum(len(variant.keys) for variant in plan.variants)
    assert f"11 variants need {plan.jobs()} stage jobs, of {plan.jobs_unshared()}" in plan.told()


LATE = ("no_multi_view", "image_plane", "compat_all", "fusion_vibid")  # each begins at another stage


@pytest.mark.slow
def test_a_variant_more_adds_its_own_jobs_and_repeats_none(tmp_path: Path) -> None:
    variants = composed("paper")
    for late in LATE:
        before = planned(tmp_path, [v for v in variants if v.name != late])
        after = planned(tmp_path, sorted(variants, key=lambda v: v.name == late))
        old = {(node.stage, node.key) for node in before.nodes}
        new = {(node.stage, node.key) for node in after.nodes} - old
        own = next(v for v in after.variants if v.name == late).keys
        assert old <= {(node.stage, node.key) for node in after.nodes}
        assert new and new < set(own.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "conf" / "sweep").glob("*.yaml")))
def test_no_two_variants_of_a_sweep_are_the_same_and_none_contradicts_itself(
    name: str, tmp_path: Path
) -> None:
    plan = planned(tmp_path, composed(name))
    for variant in plan.variants:
        check_options(variant.config)
    results = [variant.keys["assemble"] for variant in plan.variants]
    assert len(set(results)) == len(results)


FIRST_STAGE = {
    "coarse": "assemble",
    "cross_fade": "cross_fade",
    "sdedit_image": "sdedit_image",
    "sdedit_video": "sdedit_video",
    "no_multi_view": "lora",
    "no_extended_attention": "keyframes",
    "no_depth": "keyframe_inversion",
    "no_injection": "keyframes",
    "single_stage": "interpolate",
    "image_plane": "render",
    "forward_only": "interpolate",
    "compat_customised_inversion": "keyframe_inversion",
    "compat_first_keyframe": "keyframes",
    "compat_unchained": "interpolate",
    "compat_frame_depth": "keyframe_inversion",
    "compat_inclusive_tau": "keyframes",
    "compat_unflipped_depth": "interpolation_inversion",
    "compat_unflipped_masks": "interpolate",
    "compat_scaled_source": "interpolate",
    "compat_injected_block": "interpolate",
    "compat_mirror": "lora",
    "compat_all": "lora",
}


@pytest.mark.slow
def test_the_papers_rows_differ_from_the_method_where_they_should(tmp_path: Path) -> None:
    plan = planned(tmp_path, composed("paper"))
    base = plan.variants[0].keys
    firsts = {
        v.name: next(stage for stage, key in v.keys.items() if base.get(stage) != key)
        for v in plan.variants[1:]
    }
    fusions = {name: "interpolate" for name in firsts if name.startswith(("fusion_", "anchored_"))}
    assert firsts == FIRST_STAGE | fusions
    assert len(fusions) == 10


def test_the_papers_fusions_are_those_of_their_own_sweep() -> None:
    paper, own = (
        yaml.safe_load((ROOT / "conf" / "sweep" / f"{name}.yaml").read_text()) for name in ("paper", "fusion")
    )
    ways = {name: words for name, words in paper.items() if name.startswith(("fusion_", "anchored_"))}
    assert sorted(map(sorted, ways.values())) == sorted(sorted(words) for words in own.values() if words)


@pytest.mark.parametrize("scene", ["astronaut", "toy"])
@pytest.mark.slow
def test_the_papers_sweep_suits_every_scene(scene: str, tmp_path: Path) -> None:
    plan = planned(tmp_path, composed("paper", (f"scene={scene}",)))
    assert plan.jobs() < 0.5 * plan.jobs_unshared()


def test_planning_that_takes_long_shows_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (composition, plan):
        monkeypatch.setattr(module, "SILENT_S", 0.0)
    planned(tmp_path, compose_variants(ROOT / "conf", ["seed=range(0,6)"], multirun=True))
    said = capsys.readouterr().err
    assert all(f"{what}: 100%" in said for what in ("composing", "planning")) and said.count("6/6") == 2
