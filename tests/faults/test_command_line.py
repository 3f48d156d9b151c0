"""What a user may type, or leave in files: one line that says what to mend, and nothing finished changes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from i2v3d import cli
from i2v3d.commands import run
from i2v3d.errors import I2V3DError
from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.plan import Node, make_plan, node_path, write_plan
from i2v3d.workflow.planning import Asked, plan_run
from i2v3d.workflow.sweeps import expand, named_apart, read_sweep
from tests.faults.support import CONF, ROOT, contents, refused
from tests.support.checkout import make_checkout, own_folder, snakemake


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own in which something is finished already."""
    folder = make_checkout(tmp_path / "project")
    finished = folder / "results" / ".cache" / "scene" / ("a" * 12)
    finished.mkdir(parents=True)
    (finished / "photo.png").write_bytes(b"finished")
    monkeypatch.chdir(folder)
    return folder


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown option": ({"sweeep": "x"}, "--config sweeep is unknown; did you mean 'sweep'?"),
    "an open quotation": ({"overrides": 'scene.prompt="a'}, "cannot be read (No closing quotation); close"),
    "a number of overrides": ({"overrides": 5}, "--config overrides is 5; expected Hydra words"),
    "no overrides": ({"overrides": None}, "--config overrides is None; expected Hydra words"),
    "a mapping of overrides": ({"overrides": {"seed": 1}}, "--config overrides is {'seed': 1}; expected"),
    "numbers in the list": ({"overrides": ["seed=1", 5]}, "--config overrides is ['seed=1', 5]; expected"),
    "an empty cache": ({"cache": ""}, "--config cache is ''; expected a folder"),
    "no cache": ({"cache": None}, "--config cache is None; expected a folder"),
    "a blank cache": ({"cache": "  "}, "--config cache is '  '; expected a folder"),
    "the project as cache": ({"cache": "."}, "would mix finished stages with the files of"),
    "what holds the project": ({"cache": "../.."}, "would mix finished stages with the files of"),
    "the root as cache": ({"cache": "/"}, "would mix finished stages with the files of /"),
    "results as cache": ({"cache": "results"}, "would mix finished stages with the files of"),
    "a run's folder as cache": ({"cache": "results/demo/cache"}, "would mix finished stages with the files of"),
    "the workflow's folder as cache": ({"cache": "results/.jobs"}, "would mix finished stages with the files of"),
    "the configuration as cache": ({"cache": "conf/../conf"}, "would mix finished stages with the files of"),
    "a scene as cache": ({"cache": "scenes/coffee"}, "would mix finished stages with the files of"),
    "a line break in the cache": ({"cache": "a\nb"}, "expected a folder"),
    "braces in the cache": ({"cache": "a{key}"}, "--config cache is 'a{key}'; expected a folder"),
    "a long cache": ({"cache": "x" * 300}, "expected folder names of at most 255 bytes"),
    "a cache of many folders": ({"cache": "/".join(["x" * 200] * 20)}, "at most 255 bytes, 3000 together"),
    "a cache that ends in a blank": ({"cache": "a /b"}, "neither begin nor end in blanks"),
    "a doubtful switch": ({"multirun": "perhaps"}, "--config multirun is 'perhaps'; expected true or false"),
    "a sweep elsewhere": ({"sweep": "../experiment/demo"}, "--config sweep is '../experiment/demo'; expected a file"),
    "no sweep's name": ({"sweep": ""}, "--config sweep is ''; expected a file name"),
    "an unknown sweep": ({"sweep": "fusoin"}, "sweep=fusoin does not exist; did you mean 'fusion'?"),
    "both sweeps": ({"sweep": "fusion", "multirun": True}, "both make variants; use one of them"),
    "an odd benchmark": ({"benchmark": "a/b"}, "--config benchmark is 'a/b'; expected a file name"),
    "an unknown benchmark": ({"benchmark": "lonng"}, "benchmark=lonng does not exist; did you mean 'long'?"),
    "a sweep as Hydra's": ({"overrides": "sweep=fusion"}, "snakemake takes it: snakemake --cores all --config sweep="),
    "a benchmark as Hydra's": ({"overrides": "benchmark=long"}, "--cores all benchmark --config benchmark=long"),
    "a list of scenes": ({"overrides": "scene=[coffee,toy]"}, "names 2 scenes, and a run has one; name one"),
    "two runs": ({"overrides": "run=a,b", "multirun": True}, "the variants call their run a and b; a run has one name"),
    "too many variants": ({"overrides": "seed=range(0,1000000)", "multirun": True}, "makes more than 10000 variants"),
    "a sweep of patterns": ({"overrides": "scene=glob(*)", "multirun": True}, "names no values; write them out"),
    "no letters": ({"overrides": ["scene.prompt='\udc80'"]}, "which is no UTF-8; type it in a terminal"),
    "a broken sweep": ({"overrides": "seed=range(0", "multirun": True}, "cannot expand seed=range(0"),
}  # fmt: skip


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_wrong_option_is_one_line_and_changes_nothing(kind: str, project: Path) -> None:
    config, told = OPTIONS[kind]
    before = contents(project / "results")
    assert told in refused(lambda: plan_run(Asked.read(config, project / "conf")))
    after = contents(project / "results")
    assert {name: after.get(name) for name in before} == before
    assert not list(project.glob("plan")) and not list(project.parent.glob("plan"))


FILES = {
    "a tag": ("scene/own.yaml", "prompt: !secret x\n", "scene=own"),
    "no YAML": ("scene/own.yaml", "prompt: [a\n", "scene=own"),
    "a tab": ("scene/own.yaml", "camera:\n\tfov_deg: 5\n", "scene=own"),
    "no text": ("scene/own.yaml", b"\xff\xfe\x00prompt", "scene=own"),
    "a list": ("scene/own.yaml", "[a, b]\n", "scene=own"),
    "defaults that are none": ("scene/own.yaml", "defaults: 5\n", "scene=own"),
    "a missing default": ("scene/own.yaml", "defaults: [cofee, _self_]\n", "scene=own"),
    "defaults in a circle": ("scene/own.yaml", "defaults: [own, _self_]\n", "scene=own"),
    "an empty scene": ("scene/own.yaml", "", "scene=own"),
    "a value in a circle": ("scene/own.yaml", "defaults: [coffee, _self_]\nprompt: ${.prompt}\n", "scene=own"),
    "a section that is a number": ("experiment/own.yaml", "# @package _global_\nscene: 5\n", "experiment=own"),
    "a section that is a list": ("experiment/own.yaml", "# @package _global_\nlora: [5]\n", "experiment=own"),
    "a section that is nothing": ("experiment/own.yaml", "# @package _global_\nscene: null\n", "experiment=own"),
    "another list of sections": ("experiment/own.yaml", "# @package _global_\nsceen: {fps: 3}\n", "experiment=own"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_a_broken_file_is_one_line(kind: str, project: Path) -> None:
    name, text, word = FILES[kind]
    own_folder(project / "conf")
    own_folder(project / "conf" / name.split("/")[0])
    content = text if isinstance(text, bytes) else text.encode()
    (project / "conf" / name).write_bytes(content)
    before = contents(project / "results")
    line = refused(lambda: plan_run(Asked.read({"overrides": word}, project / "conf")))
    assert word in line or Path(name).stem in line or "scene." in line or "sceen" in line, "it says where"
    assert contents(project / "results").items() >= before.items()


SWEEPS = {
    "a name with a blank": ("'a b': []", "variant is 'a b'; expected a file name"),
    "a name that climbs": ("../x: []", "variant is '../x'; expected a file name"),
    "the page's name": ("comparison.html: []", "would have the name of a run's own file"),
    "a name twice": ("a: []\na: [seed=1]", "line 2, column 1: a stands twice; correct it"),
    "a tag": ("a: !!python/name:os.system []", "could not determine a constructor"),
    "no list": ("a: seed=1", "variant a must hold a list of overrides"),
    "nothing": ("", "must map variant names to lists of overrides"),
}


@pytest.mark.parametrize("kind", SWEEPS)
def test_a_broken_sweep_is_one_line(kind: str, tmp_path: Path) -> None:
    text, told = SWEEPS[kind]
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "own.yaml").write_text(text)
    assert told in refused(read_sweep, tmp_path, "own")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["scene=coffee", "--", "--config", "overrides=seed=1"], "--config overrides=seed=1 stands after --"),
        (["-m", "seed=1,2", "--", "--config", "multirun=false"], "--config multirun=false stands after --"),
        (["prevew"], "prevew is no command of i2v3d, and no Hydra word such as scene=coffee; did you mean 'preview'"),
        (["new", "a/b", "--image", "x.png"], "'a/b' is no name for a scene"),
        (["new", "mug", "--image", "none.png"], "none.png"),
        (["mesh", "none.glb"], "none.glb"),
        (["export", "scenes", "out.blend"], "scenes is no finished scene; name results/RUN/VARIANT/stages/scene"),
        (["cameras", "none.json", "o.json", "--to", "look_at"], "none.json is not there; name results/RUN/VARIANT"),
        (["cameras", "Snakefile", "o.json", "--to", "look_at"], "Snakefile is not the cameras of a finished render"),
        (["scene", "--node", "none.json", "--cache", "c", "--out", "o", "--settings", "s"], "none.json is not a plan"),
    ],
)  # fmt: skip
def test_a_wrong_word_is_one_line_and_code_2(
    words: list[str], told: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(project / "results")
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error
    assert contents(project / "results") == before


def test_the_user_s_own_settings_reach_snakemake_beside_those_of_the_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(run, "wait_for", lambda command: started.append(list(command)) or 0)
    words = [
        "seed=1",
        "--",
        "--config",
        "sweep=fusion",
        "cache=c d",
        "-n",
        "-C",
        "benchmark=quick",
        "--config=x=y",
    ]
    assert cli.main(words) == 0
    (command,) = started
    config = command.index("--config")
    assert command.count("--config") == 1 and "-n" in command[:config] and "-C" not in command
    assert command[config + 1 :] == [
        "overrides=seed=1",
        "sweep=fusion",
        "cache=c d",
        "benchmark=quick",
        "x=y",
    ]


def test_a_home_that_cannot_be_written_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"HOME": str(tmp_path / "none")}
    run.with_writable_cache(environment)
    assert "XDG_CACHE_HOME" not in environment, "it can be made"
    monkeypatch.setattr(os, "access", lambda *_: False)
    run.with_writable_cache(environment)
    assert environment["XDG_CACHE_HOME"] == str(Path.cwd() / ".snakemake" / "memos")


def test_a_user_without_a_name_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, str] = {}
    run.with_user_name(environment)
    assert environment == {}, "this one has a name"
    for error in (
        KeyError("getpwuid(): uid not found: 65534"),
        OSError("No username set in the environment"),
    ):
        monkeypatch.setattr(run.getpass, "getuser", Mock(side_effect=error))
        run.with_user_name(environment)
        assert environment.pop("LOGNAME") == f"user{os.getuid()}"


def test_a_folder_that_cannot_be_written_is_named_before_snakemake_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(run, "wait_for", lambda command: started.append(command) or 0)
    monkeypatch.setattr(run.os, "access", lambda path, _: path != Path.cwd())
    monkeypatch.chdir(tmp_path)
    assert cli.main(["scene=coffee"]) == 2
    assert f"{tmp_path} is not writable; start in a folder of your own" in capsys.readouterr().err
    assert not started
    assert cli.main(["scene=coffee", "--", "--directory", "elsewhere"]) == 0
    assert len(started) == 1


def test_variants_of_equal_names_are_told_apart_and_equal_ones_are_one() -> None:
    (fixed, a), (_, b) = expand(["scene.prompt='a b','a/b'"])
    names = named_apart([a, b])
    assert fixed == () and len(set(names.values())) == 2
    assert all(name.startswith("scene.prompt=_a_b_") for name in names.values())
    assert [v.name for v in compose_variants(CONF, ["seed=1,1"], multirun=True)] == ["seed=1"]
    long = named_apart([("scene.prompt=" + "x" * 300,), ("scene.prompt=" + "x" * 301,)])
    assert len(set(long.values())) == 2 and all(len(name.encode()) <= 80 for name in long.values())
    assert len({name.casefold() for name in named_apart([("a=X",), ("a=x",)]).values()}) == 2


@pytest.mark.parametrize("broken", ["", "{", '{"stage": "scene"}', "[]", "\x00" * 40])
def test_a_broken_plan_file_is_written_anew_and_a_whole_one_is_left(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    plan = make_plan(compose_variants(CONF, []), Fingerprints(tmp_path / "memo.json"))
    write_plan(plan, tmp_path, tmp_path / "settings.json")
    node = plan.nodes[0]
    path = node_path(tmp_path, node.stage, node.key)
    whole, others = path.read_text(), {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.json") if p != path}
    path.write_text(broken)
    with pytest.raises(I2V3DError, match="run snakemake again to re-plan"):
        Node.load(path)
    write_plan(plan, tmp_path, tmp_path / "settings.json")
    assert path.read_text() == whole
    kept = {p for p, time in others.items() if p.stat().st_mtime_ns == time}
    assert kept >= {p for p in others if p.name != "settings.json"}


@pytest.mark.parametrize("broken", ["{half", "[]", "5"])
def test_a_broken_memo_is_made_anew(broken: str, tmp_path: Path) -> None:
    (tmp_path / "memo.json").write_text(broken)
    (tmp_path / "file").write_text("x")
    prints = Fingerprints(tmp_path / "memo.json")
    assert prints.of(str(tmp_path / "file"), "photo")
    prints.save()
    assert len(json.loads((tmp_path / "memo.json").read_text())) == 1


@pytest.mark.slow
def test_snakemake_ends_with_the_line_and_code_2_and_unlocks_whatever_the_words_say(project: Path) -> None:
    before = contents(project / "results")
    for settings in ({"overrides": "run=a/b"}, {"overrides": "'"}, {"cache": "."}):
        ended = snakemake(project, "-n", settings=settings)
        assert ended.returncode == 2 and "Traceback" not in ended.stdout
        assert ended.stdout.splitlines()[-1].startswith("i2v3d: error: ")
    ended = snakemake(project, "-n", "results/other/base/video.mp4")
    assert ended.returncode == 2 and "results/other is asked for, but this run is called demo" in ended.stdout
    assert snakemake(project, "--unlock", settings={"overrides": "'"}).returncode == 0
    assert contents(project / "results").items() >= before.items()
