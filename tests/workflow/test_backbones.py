"""Which stages a video backbone brings into a plan, and what is refused before any of them works."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from i2v3d.config.models import ModelsConfig
from i2v3d.config.scene import SceneConfig
from i2v3d.config.sections import build
from i2v3d.errors import ConfigError, InputError, WeightsError
from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.fetching import chosen_weights
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.plan import Plan, PlannedVariant, make_plan
from i2v3d.workflow.preflight import check_families, check_infill, check_sizes, check_weights
from i2v3d.workflow.selection import needed_stages

ROOT = Path(__file__).parents[2]
SVD = {"interpolation_inversion", "interpolate"}
IMAGE = {"views", "lora", "keyframe_inversion", "keyframes"}
PHOTO = ("models=wan_vace", "infill.keyframes=photo", "infill.start=overlap")


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def stages(*words: str) -> set[str]:
    (variant,) = compose_variants(ROOT / "conf", words)
    return {stage.name for stage in needed_stages(variant.config)}


def plan(tmp_path: Path, *words: str) -> Plan:
    return make_plan(compose_variants(ROOT / "conf", words), Fingerprints(tmp_path / "memo.json"))


def planned(*words: str) -> PlannedVariant:
    (variant,) = compose_variants(ROOT / "conf", words)
    return PlannedVariant("base", words, variant.config, {}, 1)


def test_a_backbone_brings_its_own_stages_and_shares_the_others() -> None:
    published, wan = stages("models=sdxl_svd"), stages("models=wan_vace")
    assert wan - published == {"text", "infill"} and published - wan == SVD
    assert wan >= IMAGE


def test_the_photo_alone_needs_no_image_model() -> None:
    assert stages(*PHOTO) == {"scene", "render", "text", "infill", "assemble", "evaluate"}


def test_the_source_of_keyframes_says_so_too(tmp_path: Path) -> None:
    words = ("models=wan_vace", "keyframes.source=photo", "infill.start=overlap")
    assert plan(tmp_path, *words).variants[0].keys == plan(tmp_path, *PHOTO).variants[0].keys
    with pytest.raises(
        ConfigError, match=r"the photo alone .* but infill\.start is keyframe; set infill\.start=over"
    ):
        plan(tmp_path, "models=wan_vace", "keyframes.source=photo")
    true = plan(tmp_path, "models=wan_vace", "scene=toy", "keyframes.source=truth").variants[0]
    assert "keyframes" in true.keys and true.config["infill"]["keyframes"] == "truth"


def test_image_and_video_model_are_chosen_apart() -> None:
    words = (("models=sdxl_svd", "models/video=wan_vace"), ("models=wan_vace",))
    apart, together = (compose_variants(ROOT / "conf", chosen)[0].config for chosen in words)
    (both,) = compose_variants(ROOT / "conf", ["models/image=sdxl", "models/video=wan_vace"])
    assert apart == together == both.config
    assert apart["models"]["name"] == "sdxl_wan_vace" and apart["assemble"]["frames"] == "infill"


def test_the_miniature_of_wan_takes_the_place_of_svds_and_is_shipped_whole() -> None:
    assert stages("models=mini_vace") - stages("models=mini") == {"text", "infill"}
    config = planned("models=mini_vace").config
    assert (config["infill"]["segment_frames"], config["scene"]["frames"]) == (9, 17)
    check_families(config)
    check_infill(planned("models=mini_vace"), None)
    family = ROOT / "weights" / "mini_vace"
    for line in (family / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((family / name).read_bytes()).hexdigest() == digest, name
    shipped = [path for path in (ROOT / "weights").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in shipped) < 48e6


def test_keys_follow_what_a_stage_reads(tmp_path: Path) -> None:
    def keys(*words: str) -> dict[str, str]:
        return plan(tmp_path, *PHOTO, *words).variants[0].keys

    usual = keys()
    for word, changed in {
        "infill.seed=3": {"infill"},
        "text.prompt=b": {"text", "infill"},
        "models.video.networks.base.revision=c0ffee": {"text", "infill"},
        "models.video.text.dtype=float32": {"text", "infill"},
        "models.video.networks.dtype=float32": {"infill"},
        "keyframes.steps=3": set(),
    }.items():
        other = keys(word)
        differing = {name for name in usual if usual[name] != other[name]}
        assert differing - {"assemble", "evaluate"} == changed, word


@pytest.mark.parametrize(
    ("sweep", "words", "names", "segments"),
    [
        ("backbones", [], ["svd", "wan_vace", "wan_vace_photo"], [4, 3, 3]),
        ("mini_backbones", ["experiment=demo"], ["mini", "mini_vace", "mini_vace_photo"], [2, 2, 2]),
    ],
)
def test_the_sweeps_of_backbones_share_scene_and_render(
    tmp_path: Path, sweep: str, words: list[str], names: list[str], segments: list[int]
) -> None:
    variants = compose_variants(ROOT / "conf", words, sweep)
    made = make_plan(variants, Fingerprints(tmp_path / "memo.json"))
    assert [variant.name for variant in made.variants] == names
    for stage in ("scene", "render"):
        assert len({variant.keys[stage] for variant in made.variants}) == 1
    assert [variant.segments for variant in made.variants] == segments


def test_stages_of_another_backbone_are_refused() -> None:
    check_families(planned("models=wan_vace", "assemble.frames=cross_fade").config)
    with pytest.raises(
        ConfigError, match=r"frames is interpolate, .* svd, but that is wan_vace; use assemble.frames=infill$"
    ):
        check_families(planned("models=wan_vace", "assemble.frames=interpolate").config)
    with pytest.raises(
        ConfigError, match=r"frames is infill, .* wan_vace, but that is svd; use .*=interpolate"
    ):
        check_families(planned("models=sdxl_svd", "assemble.frames=infill").config)


def test_options_of_a_backbone_are_named_without_its_family(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"models\.video\.networks\.dtype is "):
        plan(tmp_path, "models=wan_vace", "models.video.networks.dtype=int8")
    with pytest.raises(ConfigError, match=r"models\.video\.family is 'cogvideo'; expected 'svd', 'wan_vace'"):
        plan(tmp_path, "models=wan_vace", "models.video.family=cogvideo")


def test_missing_weights_are_told_with_command_size_and_licence() -> None:
    def lengths(config: dict[str, Any]) -> None:
        check_infill(PlannedVariant("base", (), config, {}, 1), None)

    for check, size in ((lengths, 9), (check_weights, 9)):
        with pytest.raises(
            WeightsError, match=rf"\({size} GB, licence: Apache-2.0\); fetch it with .* hf download Wan-AI"
        ):
            check(planned(*PHOTO).config)


@pytest.mark.slow
def test_what_is_fetched_is_what_is_read() -> None:
    def options(*words: str) -> list[str]:
        return [need.option for need in chosen_weights(ROOT / "conf", words, judges=False)[0]]

    video = ["models.video.networks.base", "models.video.text.base"]
    assert options(*PHOTO) == video
    assert options("models=wan_vace")[-2:] == video and "models.image.base" in options("models=wan_vace")
    files = chosen_weights(ROOT / "conf", PHOTO, judges=False)[0][0].patterns()
    assert "transformer/diffusion_pytorch_model-?????-of-?????.safetensors" in files
    assert "scheduler/scheduler_config.json" in files and not any("text_encoder" in name for name in files)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """A folder that holds nothing but sizes, as Hydra's word."""
    for name, config in {
        "vae": {"temperal_downsample": [False, True, True]},
        "transformer": {"patch_size": [1, 2, 2]},
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    return f"models.video.networks.base.source={tmp_path}"


def test_lengths_that_the_model_would_round_are_refused_before_work(weights: str, tmp_path: Path) -> None:
    check_infill(planned("models=wan_vace", weights), None)
    with pytest.raises(ConfigError, match=r"segment_frames is 16, .* use 13 or 17"):
        check_infill(planned("models=wan_vace", weights, "infill.segment_frames=16"), None)
    with pytest.raises(ConfigError, match=r"segment_frames is 16, .* 4k\+1; use 13 or 17"):
        plan(tmp_path, *PHOTO, "models.segment_frames=16", "models.frames=61")
    with pytest.raises(ConfigError, match=r"overlap is 6; .* multiple of 4: use 8"):
        check_infill(planned(*PHOTO, weights, "infill.overlap=6"), None)


def test_two_experts_and_files_of_other_models_are_refused_before_work(weights: str, tmp_path: Path) -> None:
    sizes = {
        "num_layers": 3,
        "vace_layers": [0],
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "ffn_dim": 32,
    }
    config = {"patch_size": [1, 2, 2], "text_dim": 32, **sizes}
    (tmp_path / "transformer" / "config.json").write_text(json.dumps(config))
    save_file({"unet.conv_in.weight": np.zeros(3, np.float32)}, tmp_path / "unet.safetensors")
    other = tmp_path / "unet.safetensors"
    for word, told in {
        f"models.video.networks.transformer={other}": "no Wan VACE transformer: it has 'unet.conv_in.weight'",
        f"models.video.networks.loras=[{{file: '{other}', strength: 1.0}}]": "matches no layer of a Wan transformer",
    }.items():
        with pytest.raises(InputError, match=told):
            check_infill(planned("models=wan_vace", weights, word), None)
    (tmp_path / "transformer_2").mkdir()
    with pytest.raises(ConfigError, match=r"has two transformers, as Wan 2\.2"):
        check_infill(planned("models=wan_vace", weights), None)


def test_files_of_the_users_are_part_of_the_key(tmp_path: Path) -> None:
    for name, content in (("a", 0.0), ("b", 1.0)):
        save_file({"x": np.full(3, content, np.float32)}, tmp_path / f"{name}.safetensors")

    def key(*words: str) -> str:
        return plan(tmp_path, *PHOTO, *words).variants[0].keys["infill"]

    def lora(name: str, strength: float) -> str:
        return (
            f"models.video.networks.loras=[{{file: '{tmp_path}/{name}.safetensors', strength: {strength}}}]"
        )

    words = ((), (lora("a", 1.0),), (lora("b", 1.0),), (lora("a", 0.5),))
    keys = [key(*chosen) for chosen in words]
    assert len(set(keys)) == len(keys)
    again = tmp_path / "a.safetensors"
    save_file({"x": np.full(3, 2.0, np.float32)}, again)
    assert key(lora("a", 1.0)) != keys[1], "another content under the same name"


@pytest.mark.parametrize(("preset", "steps"), [("lightx2v", 4), ("causvid", 8)])
def test_presets_of_few_steps_change_the_sampling_alone(preset: str, steps: int) -> None:
    usual, few = (planned("models=wan_vace", *words).config for words in ((), (f"infill={preset}",)))
    changed = {name for name, value in usual["infill"].items() if few["infill"][name] != value}
    assert changed <= {"steps", "guidance", "flow_shift"} and few["infill"]["steps"] == steps
    assert few["infill"]["guidance"] == 1.0


def test_sizes_are_multiples_of_sixteen_and_the_image_model_is_not_asked(weights: str) -> None:
    variant = planned(*PHOTO, weights, "scene.height=488")
    scene = build(SceneConfig, variant.config["scene"], "scene")
    models = build(ModelsConfig, variant.config["models"], "models")
    with pytest.raises(ConfigError, match=r"scene.height is 488; .* multiple of 16: use 480 or 496"):
        check_sizes(scene, models, ["video"])
