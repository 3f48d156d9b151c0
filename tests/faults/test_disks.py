"""Disks that fill up or cannot be written, under every stage: a line, nothing is lost, the same command goes on.

Run with `make test-disks`, as root: small file systems are mounted for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from i2v3d.cli import main
from i2v3d.stages.registry import STAGES
from tests.support.checkout import QUICK, ROOT, make_checkout, snakemake
from tests.support.warm.plugin import COLD

pytestmark = [pytest.mark.disk, pytest.mark.slow]
# What the quick experiment runs, and what its baselines and the other backbone do.
QUICK_STAGES = (
    "scene",
    "render",
    "views",
    "lora",
    "keyframe_inversion",
    "keyframes",
    "interpolation_inversion",
    "interpolate",
    "assemble",
    "evaluate",
)
OTHER_STAGES = ("cross_fade", "sdedit_image", "sdedit_video", "text", "infill")
OTHERS = {
    "cross_fade": "[assemble.frames=cross_fade]",
    "sdedit_image": "[assemble.frames=sdedit_image, sdedit_image.steps=3]",
    "sdedit_video": "[assemble.frames=sdedit_video, sdedit_video.steps=3]",
    "infill": "[models=mini_vace, infill.steps=2, infill.keyframes=photo, infill.start=previous]",
}
LARGE_KB = 200_000


@contextmanager
def disk(folder: Path, kilobytes: int, how: str = "rw") -> Iterator[Path]:
    """A file system of its own at `folder`, of so many kilobytes, for the time of a test."""
    folder.mkdir(exist_ok=True)
    options = f"size={kilobytes}k,{how}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "i2v3d-test", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # the log may be open


def resize(folder: Path, kilobytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", folder], check=True)


def state(cache: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file of every finished folder."""
    files = (path for stage in STAGES for path in (cache / stage).rglob("*") if path.is_file())
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def pictures(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}


class Job:
    """A stage's job in the folder of a finished run, made once more onto another disk."""

    def __init__(self, stage: str, run: Path, disk: Path) -> None:
        cache = run / "results" / ".cache"
        nodes = (cache / "plan" / stage).glob("*.json")
        node = next(path for path in nodes if (cache / stage / path.stem).is_dir())
        part = "segment_000" if STAGES[stage].per_segment else ""
        self.made, self.out = cache / stage / node.stem / part, disk / "out" / part
        settings = next((run / "results" / ".jobs" / "plan" / "runs").glob("*.json"))
        paths = {
            "node": node,
            "cache": cache,
            "out": self.out,
            "settings": settings,
            "log": disk / "log" / "log",
        }
        self.words = [stage, *(word for name, path in paths.items() for word in (f"--{name}", str(path)))]
        self.words += ["--threads", "1", *(["--segment", "0"] if part else [])]

    @property
    def kilobytes(self) -> int:
        return sum(path.stat().st_size for path in self.made.rglob("*") if path.is_file()) // 1024


@pytest.fixture(scope="module")
def run_of_all(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose cache has a finished folder of every stage there is."""
    sweep = "\n".join(f"{name}: {words}" for name, words in OTHERS.items())
    folder = make_checkout(tmp_path_factory.mktemp("all") / "checkout", {"others": sweep})
    shutil.copytree(finished / "results", folder / "results", symlinks=True)
    done = snakemake(folder, overrides=[*QUICK, "run=others"], settings={"sweep": "others"})
    assert done.returncode == 0, done.stdout[-5000:]
    return folder


@pytest.fixture(autouse=True)
def _here(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)
    monkeypatch.setenv("WANDB_MODE", "disabled")


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """The line that the user gets."""
    said = capsys.readouterr().err
    assert "Traceback" not in said
    (line,) = (line for line in said.splitlines() if line.startswith("i2v3d: "))
    return line


@pytest.mark.parametrize("part", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("stage", QUICK_STAGES)
def test_a_disk_that_fills_up_costs_nothing_but_the_stage(
    stage: str, part: float, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """part: of what the stage writes, fits."""
    fill_up(stage, part, finished, tmp_path / "disk", capsys)


@pytest.mark.parametrize("stage", OTHER_STAGES)
def test_so_it_is_in_the_stages_of_baselines_and_the_other_backbone(
    stage: str,
    run_of_all: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(run_of_all)
    fill_up(stage, 0.5, run_of_all, tmp_path / "disk", capsys)


def test_no_stage_is_left_out() -> None:
    assert {*QUICK_STAGES, *OTHER_STAGES} == set(STAGES)


def fill_up(stage: str, part: float, run: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Makes a stage of a finished run onto a disk that `part` of it fits on, then on the same, enlarged."""
    before = state(run / "results" / ".cache")
    job = Job(stage, run, folder)
    with disk(folder, max(16, int(part * job.kilobytes))) as small:
        assert main(job.words) == 2
        line = told(capsys)
        assert "error: " in line and "no space left" in line.lower() and "free" in line, line
        assert not job.out.exists() and not list(job.out.parent.glob(".*tmp-*"))
        resize(small, LARGE_KB)
        assert main(job.words) == 0
        assert pictures(job.out) == pictures(job.made)
        assert not [path for path in small.rglob(".*") if path.name != ".manifest.json"]
    assert state(run / "results" / ".cache") == before


def test_a_full_temporary_folder_is_a_line_or_no_matter(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python takes another folder where nothing at all fits; with a little space what is written there fails later."""
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    failed = []
    with disk(tmp_path / "tmp", 16) as small:
        for stage in ("scene", "render", "views", "assemble"):
            job = Job(stage, finished, tmp_path / stage)
            code = main(job.words)
            if code:
                assert "no space left" in told(capsys).lower()
                failed.append(stage)
            assert job.out.exists() == (code == 0) and not list(job.out.parent.glob(".*tmp-*"))
        resize(small, LARGE_KB)
        for stage in failed:
            assert main(Job(stage, finished, tmp_path / stage).words) == 0
    assert failed, "a render writes more than that"


def test_results_that_cannot_be_written_stop_a_run_before_any_work(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path / "checkout")
    with disk(checkout / "results", 1000, "ro"):
        said = snakemake(checkout, overrides=QUICK)
        assert said.returncode == 2, said.stdout
        (line,) = (line for line in said.stdout.splitlines() if "i2v3d: error" in line)
        assert "results" in line and "Read-only file system" in line and "Traceback" not in said.stdout
    assert snakemake(checkout, "preview", "-n", overrides=QUICK).returncode == 0


def test_a_disk_without_room_for_the_run_stops_it_before_any_work(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path / "checkout")
    with disk(checkout / "results", 2000):
        said = snakemake(checkout, overrides=QUICK)
        assert said.returncode == 2, said.stdout
        (line,) = (line for line in said.stdout.splitlines() if "i2v3d: error" in line)
        assert "free, this run writes up to" in line and "free some or set another cache" in line
        assert not list((checkout / "results").glob(".cache/*/*/stage.json"))


def test_a_clone_that_cannot_be_written_runs_from_another_folder(tmp_path: Path) -> None:
    clone, here = tmp_path / "clone", tmp_path / "mein Ordner ünd 東"
    clone.mkdir()
    here.mkdir()
    words = [COLD, "-m", "i2v3d", *QUICK, "--", "-n"]
    environment = {**os.environ, "PYTHONPATH": str(clone)}
    subprocess.run(["mount", "--bind", ROOT, clone], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", clone], check=True)
        inside, outside = (
            subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            for folder in (clone, here)
        )
    finally:
        subprocess.run(["umount", "--lazy", clone], check=True)
    assert inside.returncode == 2, inside.stderr
    assert inside.stderr.startswith(f"i2v3d: error: {clone} is not writable; start in a folder of your own")
    assert outside.returncode == 0, outside.stderr[-3000:]
    assert (here / "scenes" / "coffee").readlink() == clone / "scenes" / "coffee"
