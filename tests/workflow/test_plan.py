"""Keys: equal for what is equal, different for what is not; node files are written once."""

import copy
import json
from pathlib import Path

import pytest

from i2v3d.errors import ArtifactError, ConfigError, InputError
from i2v3d.workflow.composition import Variant, compose_variants
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.plan import (
    Node,
    Plan,
    make_plan,
    needed_stages,
    node_path,
    settings_path,
    stage_config,
    stage_dirs,
    upstream_dirs,
    write_plan,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def variant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Variant:
    """One variant, with a photo of its own."""
    monkeypatch.chdir(ROOT)
    (base,) = compose_variants(ROOT / "conf", ["scene=coffee"])
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"one")
    config = copy.deepcopy(base.config)
    config["scene"]["photo"] = str(photo)
    return Variant("base", (), config)


def _plan(tmp_path: Path, *variants: Variant) -> Plan:
    return make_plan(variants, Fingerprints(tmp_path / "memo.json"))


def _changed(variant: Variant, path: str, value: object) -> Variant:
    config = copy.deepcopy(variant.config)
    node = config
    *parents, last = path.split(".")
    for part in parents:
        node = node[part]
    assert node[last] != value
    node[last] = value
    return Variant("changed", (f"{path}={value}",), config)


@pytest.mark.parametrize(
    ("path", "value", "first"),
    [
        ("scene.fps", 9, "scene"),
        ("render.samples", 3, "render"),
        ("views.size", 64, "views"),
        ("lora.rank", 3, "lora"),
        ("models.image.dtype", "bfloat16", "lora"),
        ("keyframes.inversion.prompt", "x", "keyframe_inversion"),
        ("keyframes.guidance", 3.0, "keyframes"),
        ("interpolate.inversion.fps", 9, "interpolation_inversion"),
        ("interpolate.guidance", 2.0, "interpolate"),
        ("assemble.crf", 3, "assemble"),
        ("evaluate.far_m", 3.0, "evaluate"),
    ],
)
def test_a_changed_value_changes_its_stage_and_all_after_it(
    variant: Variant, tmp_path: Path, path: str, value: object, first: str
) -> None:
    before, after = (_plan(tmp_path, v).variants[0].keys for v in (variant, _changed(variant, path, value)))
    changed = {stage for stage in before if before[stage] != after[stage]}
    expected = {first}
    for stage in needed_stages(variant.config):
        if expected & {*stage.reads(stage_config(stage, variant.config)), *stage.also}:
            expected.add(stage.name)
    if path.startswith("models.image"):
        expected |= {"keyframe_inversion", "keyframes"}
    assert changed == expected


@pytest.mark.parametrize(
    ("path", "value"), [("runtime.max_batch", 1), ("tracking.project", "x"), ("run", "x")]
)
def test_how_a_run_goes_is_in_no_key(variant: Variant, tmp_path: Path, path: str, value: object) -> None:
    before, after = (_plan(tmp_path, v).variants[0].keys for v in (variant, _changed(variant, path, value)))
    assert before == after


def test_a_changed_photo_changes_the_scene(variant: Variant, tmp_path: Path) -> None:
    before = _plan(tmp_path, variant).variants[0].keys["scene"]
    Path(variant.config["scene"]["photo"]).write_bytes(b"two")
    assert _plan(tmp_path, variant).variants[0].keys["scene"] != before
    Path(variant.config["scene"]["photo"]).unlink()
    with pytest.raises(InputError, match=r"scene\.photo names .*photo\.jpg, which does not exist"):
        _plan(tmp_path, variant)


def test_variants_share_the_nodes_they_have_in_common(variant: Variant, tmp_path: Path) -> None:
    plan = _plan(tmp_path, variant, _changed(variant, "interpolate.guidance", 2.0))
    stages = len(needed_stages(variant.config))
    assert len(plan.nodes) == stages + 3
    assert plan.jobs() == stages + 3 + 1 + 1 + 1  # two segments of interpolate twice, of its inversion once
    assert plan.jobs_unshared() == 2 * (stages + 2)


def test_node_files_are_written_once_and_read_back(variant: Variant, tmp_path: Path) -> None:
    plan = _plan(tmp_path, variant)
    settings = settings_path(tmp_path, {"overrides": ""})
    write_plan(plan, tmp_path, settings)
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "plan").rglob("*.json") if p != settings}
    write_plan(plan, tmp_path, settings)
    assert {p: p.stat().st_mtime_ns for p in times} == times
    for node in plan.nodes:
        assert Node.load(node_path(tmp_path, node.stage, node.key)) == node
    assert json.loads(settings.read_text())["run"] == variant.config["run"]
    with pytest.raises(ArtifactError, match="not a plan node"):
        Node.load(tmp_path / "none.json")


def test_folders_of_segments(variant: Variant, tmp_path: Path) -> None:
    plan = _plan(tmp_path, _changed(variant, "interpolate.conditioning", "keyframes"))
    nodes = {node.stage: node for node in plan.nodes}
    assemble = upstream_dirs(tmp_path, nodes["assemble"], None)
    key = nodes["interpolate"].key
    assert [p for p in assemble if "interpolate" in p.parts] == stage_dirs(
        tmp_path, "interpolate", key, 2, None
    )
    one = upstream_dirs(tmp_path, nodes["interpolate"], 1)
    assert one[-1].name == "segment_001"
    assert sum(p.name.startswith("segment") for p in one) == 1


def test_unknown_sections_are_refused(variant: Variant, tmp_path: Path) -> None:
    variant.config["keyframe"] = {}
    with pytest.raises(ConfigError, match="did you mean 'keyframes'"):
        _plan(tmp_path, variant)
