"""Whatever is killed, whenever: the same command goes on from what is finished, to the same result.

Run with `make test-kill ROUNDS=25`: every round kills once, at a moment and of a kind that the seed chooses.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.support.checkout import QUICK, make_checkout, shown_pictures, snakemake

pytestmark = [pytest.mark.kill, pytest.mark.slow]
ROUNDS = int(os.environ.get("KILL_ROUNDS", "25"))
LONGEST_S = float(os.environ.get("KILL_LONGEST_S", "40"))  # between a start and its kill
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# What runs the processes that are killed; a fork of a job is called as what it was forked from.
MODULES = {
    "snakemake": "snakemake",
    "stage": "i2v3d",
    "blender": "i2v3d.blender.inside.worker",
    "fork": "i2v3d.workflow.warm.server",
}
VICTIMS = os.environ.get("KILL_VICTIMS", " ".join(MODULES)).split()
WRITES = re.compile(r"^\S+ .*on cpu, writes (\S+)$", flags=re.MULTILINE)
END_S = 1800.0
PARTING_S = 10.0  # in which what jobs were forked from ends once its snakemake has


@dataclass
class Killed:
    """A folder whose run is killed again and again. finished: records and their times, as first seen."""

    folder: Path
    finished: dict[Path, int] = field(default_factory=dict)

    def start(self, log: Path) -> subprocess.Popen[bytes]:
        """The same command as ever."""
        words = [
            sys.executable,
            "-m",
            "snakemake",
            "--cores",
            "1",
            "--config",
            f"overrides={' '.join(QUICK)}",
        ]
        with log.open("wb") as out:
            return subprocess.Popen(
                words, cwd=self.folder, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )

    def check(self, before: set[Path], said: str) -> None:
        """Nothing that was finished `before` a start is lost, changed or made again by it."""
        cache = self.folder / "results" / ".cache"
        now = {
            p: p.stat().st_mtime_ns for p in [*cache.glob("*/*/stage.json"), *cache.glob("*/*/*/stage.json")]
        }
        for path, made in self.finished.items():
            assert now.get(path) == made, f"{path} was finished and is lost or made again"
        made = {self.folder / name / "stage.json" for name in WRITES.findall(said)}
        assert not made & before, f"made again: {made & before}"
        self.finished = now

    def processes(self) -> list[psutil.Process]:
        """All that run in the folder."""
        found = []
        for process in psutil.process_iter():
            try:
                if (
                    Path(process.cwd()).is_relative_to(self.folder)
                    and process.status() != psutil.STATUS_ZOMBIE
                ):
                    found.append(process)
            except psutil.Error:
                continue  # it ended, or belongs to somebody else
        return found


def _victim(killed: Killed, run: subprocess.Popen[bytes], kind: str) -> psutil.Process | None:
    if kind == "snakemake":
        return psutil.Process(run.pid)
    for process in reversed(killed.processes()):  # the youngest: a fork, if there is one
        try:
            if process.cmdline()[1:3] == ["-m", MODULES[kind]]:
                return process
        except psutil.Error:
            continue  # it ended meanwhile
    return None


def _kill(
    killed: Killed, run: subprocess.Popen[bytes], kind: str, how: signal.Signals, wait_s: float
) -> bool:
    """Kills once `wait_s` have passed and such a process is there; False if the run ended before."""
    end = time.monotonic() + wait_s
    while run.poll() is None:
        if time.monotonic() >= end:
            try:
                if (victim := _victim(killed, run, kind)) is not None:
                    victim.send_signal(how)
                    return True
            except psutil.NoSuchProcess:
                pass  # it ended between the look and the shot
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = make_checkout(tmp_path_factory.mktemp("undisturbed") / "checkout")
    done = snakemake(folder, overrides=QUICK)
    assert done.returncode == 0, done.stdout[-5000:]
    return shown_pictures(folder)


def test_any_kill_at_any_moment_costs_no_finished_work_and_changes_no_result(
    undisturbed: dict[str, str], tmp_path: Path
) -> None:
    chance = random.Random(int(os.environ.get("KILL_SEED", "0")))
    kinds = [(victim, how) for victim in VICTIMS for how in SIGNALS]
    killed = Killed(make_checkout(tmp_path / "0"))
    kills = 0
    while kills < ROUNDS:
        kind, how = kinds[kills] if kills < len(kinds) else chance.choice(kinds)
        log = tmp_path / f"{kills:03d}-{kind}-{how.name}.log"
        before = set(killed.finished)
        run = killed.start(log)
        if shot := _kill(killed, run, kind, how, chance.uniform(0, LONGEST_S)):
            kills += 1
        run.wait(END_S)
        said = log.read_text(errors="replace")
        killed.check(before, said)
        if not shot:
            assert run.returncode == 0, said[-5000:]
            _check_end(killed, undisturbed)
            killed = Killed(make_checkout(tmp_path / f"after-{kills}"))
        elif kind == "snakemake" and how == signal.SIGKILL:
            assert snakemake(killed.folder, "--unlock", overrides=QUICK).returncode == 0
    log = tmp_path / "last.log"
    before = set(killed.finished)
    assert killed.start(log).wait(END_S) == 0, log.read_text(errors="replace")[-5000:]
    killed.check(before, log.read_text(errors="replace"))
    _check_end(killed, undisturbed)


def _check_end(killed: Killed, undisturbed: dict[str, str]) -> None:
    assert shown_pictures(killed.folder) == undisturbed
    end = time.monotonic() + PARTING_S
    while (left_behind := killed.processes()) and time.monotonic() < end:
        time.sleep(0.2)
    assert left_behind == []
    left = [p for p in (killed.folder / "results/.cache").rglob(".*") if p.name.endswith((".lock", ".work"))]
    assert left == []
