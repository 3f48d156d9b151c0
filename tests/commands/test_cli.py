"""The command line: help that helps, one line for a mistake, the whole story in the log."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from i2v3d import cli
from i2v3d.errors import ArtifactError, InputError
from i2v3d.stages.registry import JOBS
from i2v3d.workflow import runner
from i2v3d.workflow.plan import Node
from tests.support.checkout import make_checkout


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:], root.level = handlers, level


def test_help_names_every_stage_and_the_launcher(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(stage.name in shown and stage.help in shown for stage in JOBS.values())
    assert "snakemake --cores all --config overrides=" in shown


@pytest.mark.parametrize("stage", list(JOBS))
def test_every_stage_explains_itself(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main([stage, "--help"])
    shown = capsys.readouterr().out
    assert left.value.code == 0
    assert all(option in shown for option in ("--node", "--cache", "--out", "--settings", "--log"))
    assert ("--segment" in shown) == JOBS[stage].per_segment


CONFIG = {"folder": None, "samples": 1, "background": "mesh", "plane_depth": 2.0, "max_faces": 1000}


def _words(folder: Path, stage: str) -> list[str]:
    node = Node(stage, "0" * 12, JOBS[stage].version, CONFIG, {}, {}, 2)
    (folder / "node.json").write_text(json.dumps(node.__dict__))
    tracking = {"mode": "disabled", "project": "x", "entity": None}
    runtime = {"device": "cpu", "max_batch": 0, "memory_mb": 100, "threads": 0}
    settings = {"run": "x", "runtime": runtime, "tracking": tracking}
    (folder / "settings.json").write_text(json.dumps(settings))
    paths = {"--node": "node.json", "--cache": "cache", "--out": "cache/out", "--settings": "settings.json"}
    words = [word for option, path in paths.items() for word in (option, str(folder / path))]
    return [stage, *words, "--log", str(folder / "job.log")]


def test_a_users_mistake_is_one_line_and_its_traceback_is_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def entry(*_: object) -> None:
        raise InputError("photo.png is empty; choose another")

    monkeypatch.setattr(runner, "load_entry", lambda name: entry if "render_passes" in name else _real(name))
    assert cli.main(_words(tmp_path, "render")) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "i2v3d: error: photo.png is empty; choose another"
    assert "Traceback" in (tmp_path / "job.log").read_text()
    assert not (tmp_path / "cache" / "out").exists()


_real = runner.load_entry


def test_a_finished_stage_leaves_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def entry(cfg: object, inputs: object, out: Path, ctx: object) -> None:
        (out / "result").write_text("done")

    monkeypatch.setattr(runner, "load_entry", lambda name: entry if "render_passes" in name else _real(name))
    assert cli.main(_words(tmp_path, "render")) == 0
    record = json.loads((tmp_path / "cache" / "out" / "stage.json").read_text())
    assert (record["stage"], record["device"], record["config"]) == ("render", "cpu", CONFIG)
    assert record["wall_s"] >= 0 and record["peak_memory_mb"] > 0 and record["versions"]["torch"]
    rows = (tmp_path / "cache" / "out" / "metrics.jsonl").read_text().splitlines()
    assert "runtime/wall_s" in json.loads(rows[-1])


def test_a_full_disk_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def entry(*_: object) -> None:
        raise OSError(28, "No space left on device", "x.png")

    monkeypatch.setattr(runner, "load_entry", lambda name: entry if "render_passes" in name else _real(name))
    assert cli.main(_words(tmp_path, "render")) == 2


def test_missing_upstream_and_old_nodes_are_named(tmp_path: Path) -> None:
    words = _words(tmp_path, "render")
    node = json.loads((tmp_path / "node.json").read_text())
    (tmp_path / "node.json").write_text(json.dumps(node | {"upstream": {"scene": "1" * 12}}))
    assert cli.main(words) == 2
    assert "is missing; run snakemake" in (tmp_path / "job.log").read_text()
    (tmp_path / "node.json").write_text(json.dumps(node | {"version": 0}))
    assert cli.main(words) == 2
    assert "planned for version 0" in (tmp_path / "job.log").read_text()
    with pytest.raises(ArtifactError, match="no run settings"):
        runner.Settings.load(tmp_path / "none.json")


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


def test_the_launcher_hands_on_words(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []

    class Done:
        returncode = 0

    monkeypatch.setattr(cli.subprocess, "run", lambda words: called.append(words) or Done())
    assert cli.main(["-m", "scene=coffee", "keyframes.guidance=5,7", "--", "-n"]) == 0
    assert called[0][3:] == [
        "--cores", "all", "-n", "--config", "overrides=scene=coffee keyframes.guidance=5,7", "multirun=true",
    ]  # fmt: skip
    assert cli.main(["--", "--profile", "profiles/slurm"]) == 0
    assert called[1][3:] == ["--profile", "profiles/slurm"]
    assert cli.main(["--dry-run"]) == 2
