"""The command line: help that helps, one line for a mistake, the whole story in the log."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from i2v3d import __version__, cli
from i2v3d.commands import run
from i2v3d.commands.completion import SHELLS
from i2v3d.commands.parsers import pixels
from i2v3d.commands.tree import build_tree, parse
from i2v3d.errors import ArtifactError, InputError
from i2v3d.stages.registry import STAGES
from i2v3d.workflow import runner
from tests.support.checkout import make_checkout
from tests.support.jobs import RENDER_CONFIG, render_job


def helped(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a help prints."""
    with pytest.raises(SystemExit) as left:
        cli.main([*words, "--help"])
    assert left.value.code == 0
    return capsys.readouterr().out


def test_help_lists_every_command_in_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    shown = helped(capsys)
    assert all(stage.name in shown and stage.help in shown for stage in STAGES.values())
    assert "snakemake --cores all --config overrides=" in shown
    order = [shown.index(word) for word in ("\ncommands:", "  new ", "\ntools:", "  mesh ", "  lora ")]
    assert order == sorted(order)


@pytest.mark.parametrize("command", build_tree().commands)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = helped(capsys, command)
    assert shown.startswith(f"usage: i2v3d {command} ")
    calling = next(group for group in build_tree().groups if command in group.known)
    assert ("examples:" in shown) == calling.told


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["--version"])
    assert left.value.code == 0 and capsys.readouterr().out == f"i2v3d {__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["rendr"],
            "rendr is no command of i2v3d, and no Hydra word such as scene=coffee; did you mean 'render'",
        ),
        (["new", "mug"], "the following arguments are required: --image; see i2v3d new --help"),
        (["--dry-run"], "--dry-run is unknown; options of snakemake come after --, see i2v3d run --help"),
        (["mesh", "a.fbx", "--faces", "3"], "--faces is unknown; see i2v3d mesh --help"),
        (["mesh", "a.fbx", "--", "-n"], "i2v3d mesh hands nothing on, but -n stands after --"),
        (["mesh", "a.fbx", "--max-faces", "0"], "'0' is no count; expected a whole number of at least 1"),
        (["time-render", "--size", "big"], "'big' is no size; expected WIDTHxHEIGHT in pixels"),
        (["time-stages", "--until", "lorra"], "invalid choice: 'lorra' (choose from"),
    ],
)
def test_a_mistake_in_the_words_is_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("i2v3d: error: ") and message in line


def test_words_for_hydra_may_stand_behind_an_option_of_several_values() -> None:
    options = parse(["time-infill", "--ways", "plain", "--memory", "12g", "8g", "models.frames=81", "seed=1"])
    assert (options.ways, options.memory) == (["plain"], ["12g", "8g"])
    assert options.words == ["models.frames=81", "seed=1"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1024x576", (1024, 576)),
        (" 64X48 ", (64, 48)),
        ("big", None),
        ("1x", None),
        ("0x4", None),
        ("9x9x9", None),
    ],
)
def test_sizes_are_width_x_height(text: str, size: tuple[int, int] | None) -> None:
    if size is None:
        with pytest.raises(argparse.ArgumentTypeError, match="expected WIDTHxHEIGHT"):
            pixels(text)
    else:
        assert pixels(text) == size


@pytest.mark.parametrize("shell", SHELLS)
def test_shells_complete_what_users_call(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("time-render", "class-name", "nerfstudio"))
    assert "cross_fade" not in script and "preview-sheet" not in script


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("cam", ["cameras"]),
        ("cameras --fr", ["--from"]),
        ("cameras --to ner", ["nerfstudio"]),
        ("new mug --image ph", ["photo.jpg"]),
        ("mesh ro", ["robot.fbx"]),
    ],
)
def test_bash_completes_commands_options_choices_and_files(
    words: str, completed: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photo.jpg").touch()
    (tmp_path / "robot.fbx").touch()
    assert cli.main(["completion", "bash"]) == 0
    last = len(words.split())
    ask = f"COMP_WORDS=(i2v3d {words}); COMP_CWORD={last}; _shtab_i2v3d; echo ${{COMPREPLY[@]}}"
    script = capsys.readouterr().out + "\n" + ask
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == completed, done.stderr


@pytest.mark.parametrize("stage", list(STAGES))
def test_every_stage_takes_what_the_rules_give(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = helped(capsys, stage)
    assert all(option in shown for option in ("--node", "--cache", "--out", "--settings", "--log"))
    assert ("--segment" in shown) == STAGES[stage].per_segment


def _words(folder: Path) -> list[str]:
    return render_job(folder, {}, "cache/out", "job.log")


def test_a_users_mistake_is_one_line_and_its_traceback_is_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def entry(*_: object) -> None:
        raise InputError("photo.png is empty; choose another")

    monkeypatch.setattr(runner, "load_entry", lambda name: entry if "render_passes" in name else _real(name))
    assert cli.main(_words(tmp_path)) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "i2v3d: error: photo.png is empty; choose another"
    assert "Traceback" in (tmp_path / "job.log").read_text()
    assert not (tmp_path / "cache" / "out").exists()


_real = runner.load_entry


def test_a_finished_stage_leaves_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def entry(cfg: object, inputs: object, out: Path, ctx: object) -> None:
        (out / "result").write_text("done")

    monkeypatch.setattr(runner, "load_entry", lambda name: entry if "render_passes" in name else _real(name))
    assert cli.main(_words(tmp_path)) == 0
    record = json.loads((tmp_path / "cache" / "out" / "stage.json").read_text())
    assert (record["stage"], record["device"], record["config"]) == ("render", "cpu", RENDER_CONFIG)
    assert record["wall_s"] >= 0 and record["peak_memory_mb"] > 0 and record["versions"]["torch"]
    rows = (tmp_path / "cache" / "out" / "metrics.jsonl").read_text().splitlines()
    assert "runtime/wall_s" in json.loads(rows[-1])


def test_a_full_disk_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def entry(*_: object) -> None:
        raise OSError(28, "No space left on device", "x.png")

    monkeypatch.setattr(runner, "load_entry", lambda name: entry if "render_passes" in name else _real(name))
    assert cli.main(_words(tmp_path)) == 2


def test_missing_upstream_and_old_nodes_are_named(tmp_path: Path) -> None:
    words = _words(tmp_path)
    node = json.loads((tmp_path / "node.json").read_text())
    (tmp_path / "node.json").write_text(json.dumps(node | {"upstream": {"scene": "1" * 12}}))
    assert cli.main(words) == 2
    assert "is missing; run snakemake" in (tmp_path / "job.log").read_text()
    (tmp_path / "node.json").write_text(json.dumps(node | {"version": 0}))
    assert cli.main(words) == 2
    assert "planned for version 0" in (tmp_path / "job.log").read_text()
    with pytest.raises(ArtifactError, match="no run settings"):
        runner.Settings.load(tmp_path / "none.json")


@pytest.mark.slow
def test_words_with_lists_and_mappings_reach_the_plan(tmp_path: Path) -> None:
    """Through snakemake's own reading of --config, wherever such a word stands."""
    moves = (
        "scene.camera.moves=[{kind: pan, amount: 3.5, start_frame: 1, end_frame: 5, interpolation: LINEAR}]"
    )
    folder = make_checkout(tmp_path / "checkout")
    for words in ([moves, "scene=coffee", "scene.keys=[]"], ["scene=coffee", moves]):
        command = [sys.executable, "-m", "i2v3d", "preview", *words, "--", "-n"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    plans = [json.loads(path.read_text()) for path in folder.glob("results/.cache/plan/scene/*.json")]
    assert len(plans) == 2
    assert all([move["amount"] for move in plan["config"]["camera"]["moves"]] == [3.5] for plan in plans)
    assert sorted(len(plan["config"]["keys"]) for plan in plans) == [0, 2]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The snakemake words of every start, none of which happens."""
    found: list[list[str]] = []
    monkeypatch.setattr(run, "wait_for", lambda command: found.append(command[3:]) or 0)
    return found


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["--cores", "all"]),
        (
            ["-m", "scene=coffee", "keyframes.guidance=5,7", "--", "-n"],
            [
                "--cores",
                "all",
                "-n",
                "--config",
                "overrides=scene=coffee keyframes.guidance=5,7",
                "multirun=true",
            ],
        ),
        (["a=1", "-m", "b=2"], ["--cores", "all", "--config", "overrides=a=1 b=2", "multirun=true"]),
        (["run", "a=1"], ["--cores", "all", "--config", "overrides=a=1"]),
        (["~scene.keys", "+b=2"], ["--cores", "all", "--config", 'overrides=["~scene.keys", "+b=2"]']),
        (["--", "--workflow-profile", "slurm"], ["--workflow-profile", "slurm"]),
        (["preview", "a=1", "--", "-n"], ["--cores", "all", "preview", "-n", "--config", "overrides=a=1"]),
    ],
)
def test_the_launcher_hands_on_words(words: list[str], expected: list[str], started: list[list[str]]) -> None:
    assert cli.main(words) == 0
    assert started == [expected]


@pytest.mark.parametrize("end", ["", "; import os, sys; sys.stderr.write('told\\n'); os._exit(130)"])
def test_ctrl_c_waits_for_snakemake_and_is_one_line(end: str, tmp_path: Path) -> None:
    """As in a terminal: both processes get the signal; the child tidies up before the parent ends, and may tell."""
    child = (
        "import pathlib, time\n"
        "pathlib.Path('ready').touch()\n"
        "try:\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    time.sleep(0.5); pathlib.Path('tidy').touch()"
        f"{end}\n"
    )
    parent = (  # in the background of a shell tests are told to ignore the signal, and would pass that on
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from i2v3d import cli; from i2v3d.commands import run\n"
        f"launch = run.wait_for; run.wait_for = lambda _: launch([sys.executable, '-c', {child!r}])\n"
        "sys.exit(cli.main([]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as started:
        while not (tmp_path / "ready").exists():
            assert started.poll() is None
            time.sleep(0.05)
        os.killpg(started.pid, signal.SIGINT)
        said = started.communicate(timeout=30)[1]
    assert said.splitlines() == ["told" if end else "i2v3d: interrupted; run the same command again to go on"]
    assert started.returncode == 130 and (tmp_path / "tidy").exists()


def test_who_ends_the_command_ends_snakemake(tmp_path: Path) -> None:
    """Batch systems and containers end the process that they know, and nobody may go on without it."""
    child = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
        "pathlib.Path('ready').touch()\ntime.sleep(60)"
    )
    parent = (
        "import sys; from i2v3d.commands.run import wait_for; "
        f"sys.exit(wait_for([sys.executable, '-c', {child!r}]))"
    )
    with subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path) as started:
        while not (tmp_path / "ready").exists():
            assert started.poll() is None
            time.sleep(0.05)
        started.terminate()
        assert started.wait(timeout=30) == 3


def test_a_defect_is_one_line_too_and_its_traceback_is_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def entry(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(runner, "load_entry", lambda name: entry if "render_passes" in name else _real(name))
    assert cli.main(_words(tmp_path)) == 1
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("i2v3d: defect: ZeroDivisionError: division by zero; the log ")
    assert "Traceback" not in said and "Traceback" in (tmp_path / "job.log").read_text()
