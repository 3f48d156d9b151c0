"""The shipped configuration composes; wrong words are refused with the nearest right one."""

from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf, base

from i2v3d.errors import ConfigError
from i2v3d.workflow.composition import Composer, compose_variants
from i2v3d.workflow.sweeps import read_sweep

CONF = Path(__file__).parents[2] / "conf"


def test_the_default_experiment_is_one_variant_called_base() -> None:
    (variant,) = compose_variants(CONF, [])
    assert (variant.name, variant.config["run"], variant.config["models"]["name"]) == ("base", "demo", "mini")


def test_a_word_changes_one_value_and_nothing_else() -> None:
    (before,), (after,) = (compose_variants(CONF, words) for words in ([], ["keyframes.tau_conv=0.5"]))
    assert before.config["keyframes"].pop("tau_conv") != after.config["keyframes"].pop("tau_conv")
    assert before.config == after.config


def test_models_win_over_the_files_of_other_groups_and_words_over_models() -> None:
    published, mini, word = (
        compose_variants(CONF, words)[0].config["lora"]
        for words in (["models=sdxl_svd"], ["models=mini"], ["models=mini", "lora.rank=4"])
    )
    assert (published["rank"], mini["rank"], word["rank"]) == (32, 8, 4)
    assert published["mirror"] == mini["mirror"]


def test_experiments_win_over_defaults_and_words_over_experiments() -> None:
    (variant,) = compose_variants(CONF, ["experiment=quick", "keyframes.steps=7"])
    assert (variant.config["interpolate"]["steps"], variant.config["keyframes"]["steps"]) == (3, 7)


def test_multirun_makes_one_variant_a_combination() -> None:
    words = ["seed=3", "keyframes.guidance=5.0,7.5", "keyframes.injection=true,false"]
    variants = compose_variants(CONF, words, multirun=True)
    assert [v.name for v in variants] == [
        "keyframes.guidance=5.0_keyframes.injection=True",
        "keyframes.guidance=5.0_keyframes.injection=False",
        "keyframes.guidance=7.5_keyframes.injection=True",
        "keyframes.guidance=7.5_keyframes.injection=False",
    ]
    assert {v.config["seed"] for v in variants} == {3}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("scene=cofee", "scene=cofee does not exist; did you mean 'coffee'"),
        ("models=mimi", "models=mimi does not exist; did you mean 'mini'"),
        ("keyframes.stepz=3", "keyframes.stepz is not an option; did you mean 'steps'"),
        ("models.vidoe.dtype=float16", "models.vidoe is not an option; did you mean 'video'"),
        ("models.video.dtipe=float16", "models.video.dtipe is not an option; did you mean 'dtype'"),
        ("keyframe.steps=3", "keyframe"),
        ("seeds=3", "seeds is not an option; did you mean 'seed'"),
        ("keyframes.steps=", "keyframes.steps"),
        ("sampler=fast", "sampler"),
    ],
)
def test_wrong_words_are_refused_with_the_nearest_name(word: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        from i2v3d.workflow.fingerprint import Fingerprints
        from i2v3d.workflow.plan import make_plan

        make_plan(compose_variants(CONF, [word]), Fingerprints(Path("absent")))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


KINDS = (
    ["keyframes.guidance=5", "seed=3"],
    ["interpolate.fusion.method=sequential", "interpolate.anchor=none", "run=other"],
    [
        "scene=coffee",
        "scene.camera.moves=[{kind: zoom, amount: 0.5, start_frame: 1, end_frame: 15, interpolation: LINEAR}]",
    ],
    ["scene=coffee", "scene.camera.moves.0.amount=3", "models.image.layers.conv=[a, b]", "scene.mask=null"],
    [
        "scene=coffee_figure",
        "scene.objects.0.place={position_m: [0, 0, 0], rotation_deg: [0, 0, 0], scale: 1}",
    ],
    ["experiment=demo", "scene.index=7", "keyframes.prompt='a ${scene.caption}, twice'"],
    ["keyframes.steps=9", "models=sdxl_svd", "experiment=quick", "interpolate.steps=7"],
    ["+scene.more=1", "~lora.mirror", "++scene.frames=8"],
    ["~tracking", "+tracking@extra=default"],
    ["models.width=96"],
)


@pytest.mark.slow
def test_variants_that_share_their_files_are_what_hydra_makes_of_each_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memo = tmp_path / "memo"
    composer = Composer(CONF, memo)
    made = [composer.variant("x", words).config for words in KINDS]
    remembered = [Composer(CONF, memo).variant("x", words).config for words in KINDS]
    monkeypatch.setattr(base, "parse", base.parse.__wrapped__)
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        alone = [hydra.compose("config", overrides=words) for words in KINDS]
    assert made == [OmegaConf.to_container(config, resolve=True) for config in alone]
    assert remembered == made


def test_what_is_remembered_is_not_composed_again_until_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf, memo = tmp_path / "conf", tmp_path / "memo"
    conf.mkdir()
    (conf / "config.yaml").write_text("seed: 1")
    (first,) = compose_variants(conf, ["seed=2"], memo=memo)
    with monkeypatch.context() as patch:
        patch.setattr(hydra, "compose", lambda *_, **__: pytest.fail("composed again"))
        assert compose_variants(conf, ["seed=2"], memo=memo) == [first]
    (conf / "config.yaml").write_text("{seed: 1, run: x}")
    assert compose_variants(conf, ["seed=2"], memo=memo)[0].config == {"seed": 2, "run": "x"}
    next(memo.iterdir()).write_text("{half")
    assert compose_variants(conf, ["seed=2"], memo=memo)[0].config == {"seed": 2, "run": "x"}


def test_what_the_environment_decides_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text("run: x")
    for name in ("one", "two"):
        monkeypatch.setenv("RUN", name)
        (variant,) = compose_variants(tmp_path, ["run=${oc.env:RUN}"], memo=tmp_path / "memo")
        assert variant.config["run"] == name


def test_sweep_files_name_their_variants(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    assert [v.name for v in compose_variants(CONF, [], sweep="injection")] == list(
        read_sweep(CONF, "injection")
    )
    with pytest.raises(ConfigError, match="does not exist"):
        compose_variants(CONF, [], sweep="nothing")
    with pytest.raises(ConfigError, match="use one of them"):
        compose_variants(CONF, [], sweep="nothing", multirun=True)
    for text, message in [("[]", "must map"), ("'a b': []", "file name"), ("a: seed=1", "list of overrides")]:
        (sweep / "bad.yaml").write_text(text)
        with pytest.raises(ConfigError, match=message):
            compose_variants(tmp_path, [], sweep="bad")


def test_every_key_of_every_group_has_a_comment() -> None:
    for group in sorted({path.parent for path in CONF.rglob("*.yaml")}):
        if group.name in ("experiment", "sweep"):
            assert all(path.read_text().startswith("#") for path in group.glob("*.yaml"))
            continue
        keys, explained = {}, set()
        for path in sorted(group.glob("*.yaml")):
            lines = path.read_text().splitlines()
            for number, line in enumerate(lines):
                key = line.split("#")[0].strip().removeprefix("- ").split(":")[0]
                if ":" not in line.split("#")[0] or key.startswith("{"):
                    continue
                keys.setdefault(key, f"{path.relative_to(CONF)}:{number + 1}")
                if "#" in line or (number and lines[number - 1].strip().startswith("#")):
                    explained.add(key)
        assert not set(keys) - explained, {key: keys[key] for key in set(keys) - explained}
