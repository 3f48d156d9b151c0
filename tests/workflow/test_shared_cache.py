"""Folders that share a cache, and runs that were killed: what one has made another uses, and nobody removes it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from i2v3d.artifacts.claims import claimed
from i2v3d.artifacts.folders import publish
from i2v3d.workflow.finished import RECORD, link_of, watched
from tests.support.checkout import QUICK, make_checkout, planned_jobs, shown_pictures

WRITES = re.compile(r"^\S+ .*on cpu, writes (\S+)$", flags=re.MULTILINE)
END_S = 1800.0


def _start(folder: Path, cache: Path, *words: str) -> subprocess.Popen[bytes]:
    """A run of the quick experiment; what it says goes to said.log in its folder."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *words]
    command += ["--config", f"overrides={' '.join(QUICK)}", f"cache={cache}"]
    environment = {**os.environ, "WANDB_MODE": "offline"}
    with (folder / "said.log").open("wb") as out:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT)


@pytest.mark.slow
@pytest.mark.kill  # two whole runs at once
def test_two_folders_share_a_cache_at_once_and_do_nothing_twice(tmp_path: Path) -> None:
    """One waits for what the other has begun, so that not even such a stage is made twice."""
    folders = [make_checkout(tmp_path / name) for name in ("one", "two")]
    cache = tmp_path / "shared"
    runs = [_start(folder, cache) for folder in folders]
    ends = [run.wait(END_S) for run in runs]
    said = [(folder / "said.log").read_text() for folder in folders]
    assert ends == [0, 0], "\n".join(said)[-8000:]
    assert shown_pictures(folders[0]) == shown_pictures(folders[1])
    made = Counter(path for text in said for path in WRITES.findall(text))
    everything = {
        str(path.parent) for path in [*cache.glob("*/*/stage.json"), *cache.glob("*/*/*/stage.json")]
    }
    assert set(made) == everything and set(made.values()) == {1}, made
    late = make_checkout(tmp_path / "late")
    assert _start(late, cache, "-n").wait(END_S) == 0
    assert planned_jobs((late / "said.log").read_text()) == {"variant": 1, "comparison": 1}


def test_who_comes_second_waits_and_uses_what_the_first_has_made(tmp_path: Path) -> None:
    out, seen = tmp_path / "scene" / "key", []

    def second() -> None:
        with claimed(out) as to_make:
            seen.append(to_make)

    with claimed(out) as to_make:
        assert to_make
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        assert seen == []
        with publish(out) as folder:
            (folder / RECORD).write_text("{}")
    thread.join()
    assert seen == [False]
    assert [path.name for path in out.parent.iterdir()] == ["key"], "no claim is left behind"


def test_a_killed_holder_frees_its_claim(tmp_path: Path) -> None:
    out = tmp_path / "key"
    script = (
        "import sys, time; from pathlib import Path; from i2v3d.artifacts.claims import claimed\n"
        "with claimed(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, out], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with claimed(out) as to_make:
        assert to_make


def test_links_follow_what_others_do_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for cache in (Path("results/.cache"), tmp_path / "shared"):
        folder = cache / "scene" / "0123456789ab"
        link = link_of(cache, folder)
        assert watched(cache, folder) == (link, False) and not link.is_symlink()
        folder.mkdir(parents=True)
        (folder / RECORD).write_text("{}")
        os.utime(folder / RECORD, (1e9, 1e9))
        assert watched(cache, folder) == (link, True)
        assert link.resolve() == (folder / RECORD).resolve() and link.lstat().st_mtime == 1e9
        before = link.lstat()
        assert watched(cache, folder) == (link, True) and link.lstat() == before
        (folder / RECORD).unlink()
        assert watched(cache, folder) == (link, False) and not link.is_symlink()
