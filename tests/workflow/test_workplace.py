"""A folder of one's own, with blanks and letters of any kind in its name: its files first, then the project's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.workplace import project_folder, set_up
from tests.support.checkout import QUICK, planned_jobs
from tests.support.warm.plugin import COLD

ROOT = Path(__file__).parents[2]
MINE = "defaults: [coffee, _self_]\nprompt: a cup of my own\n"
MODULE = """\
module i2v3d:
    snakefile: {snakefile!r}
    config: config

use rule * from i2v3d

rule mine:
    default_target: True
    input: "results/demo/base/video.mp4"
    output: "copy.mp4"
    shell: "cp {{input:q}} {{output:q}}"
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """With a scene and a sweep of its own, and another value of a shipped file."""
    folder = tmp_path / "mein Ordner ünd 東"
    (folder / "conf" / "scene").mkdir(parents=True)
    (folder / "conf" / "scene" / "mine.yaml").write_text(MINE)
    (folder / "conf" / "sweep").mkdir()
    (folder / "conf" / "sweep" / "own.yaml").write_text("plain: []\nother: [seed=1]\n")
    shipped = (ROOT / "conf" / "assemble" / "default.yaml").read_text()
    (folder / "conf" / "assemble").mkdir()
    (folder / "conf" / "assemble" / "default.yaml").write_text(shipped + "\n")
    return folder


def test_own_files_of_conf_come_first_and_the_projects_stay_known(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    for _ in range(2):
        conf = set_up(ROOT, Path.cwd())
    variants = compose_variants(conf, ["scene=mine"], sweep="own")
    assert [variant.config["scene"]["prompt"] for variant in variants] == ["a cup of my own"] * 2
    assert (conf / "assemble" / "default.yaml").resolve() == here / "conf" / "assemble" / "default.yaml"
    assert (conf / "config.yaml").resolve() == ROOT / "conf" / "config.yaml"
    (here / "conf" / "scene" / "mine.yaml").unlink()
    left = [path.name for path in (set_up(ROOT, Path.cwd()) / "scene").iterdir()]
    assert "coffee.yaml" in left and "mine.yaml" not in left


def test_scenes_and_weights_are_lent_and_own_ones_stay(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    (here / "scenes" / "coffee").mkdir(parents=True)
    set_up(ROOT, Path.cwd())
    assert list((here / "scenes" / "coffee").iterdir()) == []
    assert (here / "scenes" / "astronaut").resolve() == ROOT / "scenes" / "astronaut"
    assert (here / "weights" / "mini").resolve() == ROOT / "weights" / "mini"


def test_the_project_itself_needs_nothing() -> None:
    assert set_up(ROOT, ROOT) == ROOT / "conf"
    assert project_folder() == ROOT


def _dry_run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.mark.slow
def test_runs_start_in_any_folder_by_either_command_and_as_a_module(here: Path, tmp_path: Path) -> None:
    words = ["scene=mine", *(word for word in QUICK if not word.startswith("scene="))]
    settings = ["--config", f"overrides={' '.join(words)}"]
    clone = tmp_path / "cl{o}ne's"
    clone.symlink_to(ROOT)
    snakefile = str(clone / "Snakefile")
    plans = [
        _dry_run(here, "i2v3d", *words, "--", "-n"),
        _dry_run(tmp_path, "snakemake", "-n", "--cores", "1", "-s", snakefile, "-d", str(here), *settings),
    ]
    assert all(planned_jobs(plan)["scene"] == 1 for plan in plans) and planned_jobs(plans[0]) == planned_jobs(
        plans[1]
    )
    (here / "Snakefile").write_text(MODULE.format(snakefile=snakefile))
    as_module = planned_jobs(_dry_run(here, "snakemake", "-n", "--cores", "1", *settings))
    assert as_module["mine"] == 1 and as_module["interpolate"] == 2


@pytest.mark.slow
def test_what_a_wheel_installs_runs_without_the_project(here: Path, tmp_path: Path) -> None:
    """What `pip wheel` packs, built into a folder that stands for site-packages."""
    site = tmp_path / "site"
    build = [
        "setup.py",
        "--quiet",
        "egg_info",
        "--egg-base",
        str(tmp_path),
        "build_py",
        "--build-lib",
        str(site),
    ]
    subprocess.run([COLD, *build], cwd=ROOT, check=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    words = [COLD, "-m", "i2v3d", "scene=mine", "experiment=quick", "--", "-n"]
    done = subprocess.run(words, cwd=here, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert planned_jobs(done.stdout)["interpolate"] == 2
    for name in ("scenes/coffee", "weights/mini", "weights/mini_vace"):
        assert (here / name).resolve() == site / "i2v3d" / "project" / name
    assert (site / "i2v3d" / "project" / "requirements.lock").is_file()


@pytest.mark.slow
def test_a_lock_is_removed_whatever_the_words_say(here: Path) -> None:
    words = ["scene.widht=13", "scene=none", "--", "--unlock"]
    assert "Unlocked" in _dry_run(here, "i2v3d", *words)
