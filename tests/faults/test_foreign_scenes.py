"""Scene files of other people set their scene and nothing else, and read nothing but it."""

from __future__ import annotations

import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.plan import Plan, make_plan
from tests.faults.support import CONF, ROOT, refused

DISTRUST = "untrusted_scene=true"
HEAD = "defaults: [coffee, _self_]\n"


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """The shipped configuration, to which somebody else's scene is added."""
    return Path(shutil.copytree(CONF, tmp_path / "conf"))


def plan_with(conf: Path, text: str, *words: str) -> Plan:
    """Plans somebody else's scene in the project's folder."""
    (conf / "scene" / "theirs.yaml").write_text(text)
    return make_plan(compose_variants(conf, ["scene=theirs", *words]), Fingerprints(Path("absent")))


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SECRET", "hunter2")


HOSTILE = {
    "another package": (
        '# @package _global_\nrun: "x;touch PWNED;echo"\n',
        "'# @package _global_' and would set values outside scene; delete that line, or run without",
    ),
    "a package of another group": ("# @package lora\nweights: /etc/passwd\n", "'# @package lora'"),
    "an override of a group": (
        "defaults: [coffee, {override /tracking@tracking: default}, _self_]\n",
        "tracking",  # Hydra's own refusal: what a scene brings along lies below it
    ),
    "a file of another group": ("defaults: [coffee, /experiment/demo, _self_]\n", "/experiment/demo"),
    "a group at another place": ("defaults: [coffee, {/lora@lora: default}, _self_]\n", "/lora: default"),
    "a scene at another place": ("defaults: [coffee, toy@lora, _self_]\n", "has the default 'toy'"),
    "a file beside the folder": ("defaults: [../experiment/demo, _self_]\n", "../experiment/demo"),
    "the environment": (HEAD + "prompt: 'a ${oc.env:SECRET}'\n", "scene.prompt in conf/scene/theirs.yaml holds"),
    "the environment, spelt apart": (HEAD + "prompt: '${ oc.env : SECRET }'\n", "scene.prompt"),
    "the environment, in another": (HEAD + "prompt: '${oc.select:x,${oc.env:SECRET}}'\n", "scene.prompt"),
    "a function made of parts": (HEAD + "name: oc.env\nprompt: '${${scene.name}:SECRET}'\n", "scene.prompt"),
    "a decoded word": (HEAD + "prompt: '${oc.decode:x}'\n", "scene.prompt"),
    "a value of the user": (HEAD + "prompt: '${tracking.entity}'\n", "a scene may read scene, models, perception"),
    "a value above": (HEAD + "prompt: '${..tracking.project}'\n", "scene.prompt in conf/scene/theirs.yaml holds"),
    "a value far above": (HEAD + "remove: ['${...run}']\n", "scene.remove[0] in conf/scene/theirs.yaml holds"),
    "a value above, in a function": (
        HEAD + "prompt: '${toy_caption:${..tracking.project},32,0}'\n",
        "scene.prompt in conf/scene/theirs.yaml holds",
    ),
    "the environment, in the defaults": (
        "defaults: [coffee, '${oc.env:SECRET}', _self_]\n",
        "has the default '${oc.env:SECRET}'; name the scene itself",
    ),
    "anchors of anchors": (
        HEAD + "a: &a [0,0,0,0,0,0,0,0,0,0]\n" + "".join(
            f"{name}: &{name} [{','.join(9 * [f'*{before}'])}]\n" for before, name in pairwise("abcde")
        ),
        "theirs.yaml stands for too many values by its anchors",
    ),
    "an anchor in itself": (HEAD + "remove: &a [*a]\n", "theirs.yaml stands for too many values by its anchors"),
    "a list's entry": (HEAD + "remove: ['${oc.env:SECRET}']\n", "scene.remove[0]"),
    "a key": (HEAD + "'${oc.env:SECRET}': 1\n", "scene."),
    "another file": (HEAD + "mask: /etc/hostname\n", "scene.mask names /etc/hostname, outside scenes/"),
    "a command": (HEAD + "name: coffee\nforeground: {generator: {command: id}}\n", "would run 'id'"),
    "a section beside it": (HEAD + "run: x\n", "scene.run is not an option"),
    "its own trust": (HEAD + "untrusted_scene: false\nmask: /etc/hostname\n", "scene.untrusted_scene is not an option"),
    "an object of Python": (HEAD + "prompt: !!python/object/apply:os.system [id]\n", "tag"),
}  # fmt: skip


# One of each way out; the others are tried by make test.
QUICK = ("another package", "a file of another group", "the environment", "another file", "a command")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in QUICK else [pytest.mark.slow]) for kind in HOSTILE]
)
def test_what_reaches_out_of_the_scene_is_refused(kind: str, conf: Path) -> None:
    text, told = HOSTILE[kind]
    line = refused(plan_with, conf, text, DISTRUST)
    assert told in line and "hunter2" not in line
    assert not Path("PWNED").exists()


def test_a_scene_that_another_one_brings_along_is_looked_at_as_well(conf: Path) -> None:
    (conf / "scene" / "friend.yaml").write_text("# @package _global_\nrun: x\n")
    assert "conf/scene/friend.yaml says" in refused(plan_with, conf, "defaults: [friend, _self_]\n", DISTRUST)


def test_distrust_may_stand_in_a_file_and_a_word_wins_over_it(conf: Path) -> None:
    top = conf / "config.yaml"
    top.write_text(top.read_text().replace("untrusted_scene: false", "untrusted_scene: true"))
    evil = "# @package _global_\ndefaults: [/scene/coffee]\nrun: theirs\nuntrusted_scene: false\n"
    assert "would set values outside scene" in refused(plan_with, conf, evil)


def test_distrust_in_a_linked_folder_counts(conf: Path) -> None:
    elsewhere = conf.parent / "experiment"
    (conf / "experiment").rename(elsewhere)
    (conf / "experiment").symlink_to(elsewhere)
    (elsewhere / "careful.yaml").write_text("# @package _global_\nuntrusted_scene: true\n")
    evil = "# @package _global_\ndefaults: [/scene/coffee]\nrun: theirs\nuntrusted_scene: false\n"
    assert "would set values outside scene" in refused(plan_with, conf, evil, "experiment=careful")


# What the rules make themselves: numbers, and words that are quoted already.
SAFE = {"{threads}", "{params.segment}", "{params.command}"}


def test_every_name_that_reaches_a_shell_is_quoted() -> None:
    found = set()
    for rules in (*ROOT.glob("rules/*.smk"), *ROOT.glob("miniature/rules/*.smk")):
        for command in re.findall(r"^ {4}shell:\n((?: {8}.*\n)+)", rules.read_text(), flags=re.MULTILINE):
            names = re.findall(r"\{+[^{}]*\}+", command)
            found |= {name.replace("{{", "{").replace("}}", "}") for name in names}
    assert "{log:q}" in found, "the test sees"
    assert {name for name in found if not name.endswith(":q}")} - SAFE == {"{PYTHON}"}, (
        "of common.smk, quoted there"
    )


@pytest.mark.slow
def test_honest_scenes_and_trusted_ones_are_composed_as_ever(conf: Path) -> None:
    honest = (
        HEAD + "name: coffee\nprompt: 'a ${scene.class_name}, ${.fps} fps'\nframes: ${models.frames}\n"
        "remove: [&cup 'a ${..class_name}', *cup]\n"
    )
    plan = plan_with(conf, honest, DISTRUST)
    assert plan.variants[0].config["scene"]["prompt"] == "a cup, 8 fps"
    assert plan.variants[0].config["scene"]["remove"] == ["a cup", "a cup"]
    plan = plan_with(conf, HEAD + "prompt: '${oc.env:SECRET}'\n")
    assert plan.variants[0].config["scene"]["prompt"] == "hunter2"


@pytest.mark.slow
@pytest.mark.parametrize("scene", ["astronaut", "coffee", "toy"])
def test_shipped_scenes_may_be_distrusted(scene: str) -> None:
    make_plan(compose_variants(CONF, [f"scene={scene}", DISTRUST]), Fingerprints(Path("absent")))
