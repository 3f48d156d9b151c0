"""What slow tests start in place of a process behaves as that process; see tests/support/warm."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from execnet.gateway_io import popen_bootstrapline

from tests.support.checkout import ROOT, make_checkout
from tests.support.warm.kinds import kind_of
from tests.support.warm.plugin import COLD, python

SEEN = (
    "import bpy, os, sys; print(os.environ['WORD'], os.getcwd(), sys.argv[1:], sys.stdin.read()); "
    "sys.stderr.write('said'); sys.exit(7)"
)
WHERE = (
    "import bpy; from i2v3d import errors; from i2v3d.workflow import workplace; "
    "print(errors.__file__, workplace.__file__)"
)
ASKED = "import bpy, os, time; print(os.getpid(), flush=True); time.sleep(60)"
INTERRUPTED = """
import bpy, time
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["-m", "snakemake", "-n"], "snakemake"),
        (["-m", "i2v3d", "scene=coffee", "--", "-n"], "snakemake"),
        (["-m", "i2v3d", "lora", "--node", "x.json"], "stage"),
        (["-m", "i2v3d.blender.inside.worker", "job.json"], "blender"),
        (["-c", "import os, bpy"], "blender"),
        (["-c", "import os, torch\nimport sys"], "stage"),
        (["-c", "print('bpy')"], None),
        (["-c", popen_bootstrapline], "stage"),
        (["-m", "pytest"], None),
        (["script.py"], None),
        ([], None),
    ],
)
def test_the_command_says_which_server_serves_it(words: list[str], kind: str | None) -> None:
    assert kind_of(words) == kind


@pytest.mark.slow
def test_words_folder_environment_files_and_status_are_those_of_the_command(tmp_path: Path) -> None:
    def seen() -> tuple[object, ...]:
        words, values = [sys.executable, "-c", SEEN, "a", "b c"], {"WORD": "here", "PATH": "/bin"}
        done = subprocess.run(words, cwd=tmp_path, env=values, input="in", capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    assert sys.executable != COLD
    warm = seen()
    with python():
        assert sys.executable == COLD and seen() == warm
    assert warm == (7, f"here {tmp_path} ['a', 'b c'] in\n", "said")


@pytest.mark.slow
def test_modules_of_the_project_are_those_of_the_folder_that_a_command_runs_in(tmp_path: Path) -> None:
    """The server's own where the folder has the same files; where it has others, these."""

    def found(folder: Path) -> tuple[str, str]:
        words = [sys.executable, "-c", WHERE]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
        before, after = done.stdout.split()
        return before, after

    checkout, other = make_checkout(tmp_path / "checkout"), tmp_path / "other"
    assert found(checkout) == (str(ROOT / "i2v3d/errors.py"), str(checkout / "i2v3d/workflow/workplace.py"))
    shutil.copytree(ROOT / "i2v3d", other / "i2v3d", ignore=shutil.ignore_patterns("__pycache__"))
    assert found(other) == (str(other / "i2v3d/errors.py"), str(other / "i2v3d/workflow/workplace.py"))


@pytest.mark.slow
def test_a_process_dies_with_its_client_and_a_signal_is_passed_on() -> None:
    with subprocess.Popen([sys.executable, "-c", ASKED], stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        process = psutil.Process(int(started.stdout.readline()))
        started.kill()
    psutil.wait_procs([process], timeout=10)
    assert not process.is_running()
    with subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None and started.stdout.readline() == "ready\n"
        started.send_signal(signal.SIGINT)
        assert started.communicate(timeout=60)[0] == "interrupted\n"
    crash = [sys.executable, "-c", "import bpy, os; os.kill(os.getpid(), 11)"]
    assert subprocess.run(crash, check=False).returncode == -11
