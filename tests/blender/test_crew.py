"""Frames spread over Blender processes: how many, that pictures do not depend on it, and what failures do."""

from __future__ import annotations

import json
import time
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from i2v3d.artifacts.scene_spec import ObjectSpec, TransformKey
from i2v3d.blender import api, crew
from i2v3d.blender.crew import BASE_BYTES, BYTES_A_BLEND_BYTE, FRAMES_A_PROCESS, split_frames
from i2v3d.blender.jobs import BlendJob, FramesJob
from i2v3d.blender.process import StoppedError, run_child
from i2v3d.errors import RenderError
from i2v3d.images import read_depth, read_flow, read_mask, read_rgb
from i2v3d.progress import ignore_step
from tests.blender.test_blender_errors import python
from tests.support.blender_scenes import box, still_scene

BLEND = 10**7
NEED = BASE_BYTES + BYTES_A_BLEND_BYTE * BLEND
PLENTY = 1000 * NEED


@pytest.mark.parametrize(
    ("cores", "frames", "free", "device", "expected"),
    [
        ("2", 24, PLENTY, "cpu", (2, 1)),
        ("64", 240, PLENTY, "cpu", (16, 4)),
        ("8", 2 * FRAMES_A_PROCESS, PLENTY, "cpu", (2, 4)),
        ("8", 1, PLENTY, "cpu", (1, 8)),
        ("8", 24, 3 * NEED, "cpu", (3, 2)),
        ("8", 24, 0, "cpu", (1, 8)),
        ("8", 24, PLENTY, "cuda:0", (1, 8)),
    ],
)
def test_cores_frames_and_memory_decide(cores, frames, free, device, expected, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", cores)
    split = split_frames(frames, device, BLEND, free)
    assert (split.processes, split.threads) == expected


@pytest.mark.slow
def test_pictures_do_not_depend_on_the_number_of_processes(tmp_path: Path, monkeypatch) -> None:
    box(tmp_path / "box.glb", (0.0, 4.0, 0.0), (1.0, 1.0, 1.0))
    keys = (
        TransformKey(1, (-0.5, 0.0, 0.0), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "LINEAR"),
        TransformKey(7, (0.5, 0.0, 0.0), (0.0, 0.0, 90.0), (1.0, 1.0, 1.0), "LINEAR"),
    )
    still_scene(tmp_path, (ObjectSpec("box", "foreground", "box.glb", (0.0, 4.0, 0.0), keys),), frames=7)
    api.save_blend(tmp_path, max_faces=1000)
    reports, steps = {}, []
    for cores in ("1", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", cores)
        out = tmp_path / cores
        reports[cores] = api.render_frames(
            tmp_path,
            out,
            frames=range(1, 8),
            samples=4,
            device="cpu",
            on_frame=lambda done, total: steps.append((done, total)),
            log_dir=tmp_path / f"log{cores}",
        )
    assert [reports[cores].metrics()["processes"] for cores in ("1", "2")] == [1, 2]
    assert steps[7:] == [(n, 7) for n in range(1, 8)]
    assert sorted(p.name for p in (tmp_path / "log2").iterdir()) == ["frames_1.log", "frames_2.log"]
    assert reports["2"].peak_memory_mib > 1.5 * reports["1"].peak_memory_mib
    readers = {
        "rgb": read_rgb,
        "depth": read_depth,
        "mask": read_mask,
        "fg_mask": read_mask,
        "flow": read_flow,
    }
    for folder, read in readers.items():
        files = sorted((tmp_path / "1" / folder).iterdir())
        assert len(files) == (6 if folder == "flow" else 7)
        for file in files:
            np.testing.assert_array_equal(read(file), read(tmp_path / "2" / folder / file.name))
    cameras = [json.loads((tmp_path / cores / "cameras.json").read_text()) for cores in ("1", "2")]
    assert cameras[0] == cameras[1]


def test_a_child_that_is_told_to_stop_is_gone_at_once(tmp_path: Path) -> None:
    stop, began = Event(), time.monotonic()
    Thread(target=lambda: (time.sleep(0.5), stop.set())).start()
    with pytest.raises(StoppedError):
        run_child(
            python("import time; time.sleep(60)"),
            what="testing",
            log_file=tmp_path / "log",
            env={},
            stall_s=50.0,
            on_event=lambda event: None,
            stop=stop,
        )
    assert time.monotonic() - began < 10


def test_one_failure_stops_the_others_and_is_the_error(tmp_path: Path, monkeypatch) -> None:
    """The first process dies of a signal; the second would go on for a minute."""
    codes = {"blend": "import os; os.kill(os.getpid(), 11)", "frames": "import time; time.sleep(60)"}

    def start(command, **options):
        kind = "blend" if '"BlendJob"' in Path(command[-1]).read_text() else "frames"
        run_child(python(codes[kind]), **options)

    monkeypatch.setattr(crew, "run_child", start)
    frames = FramesJob("s", "o", "w", (1,), 1, "cpu", 1, 0)
    began = time.monotonic()
    with pytest.raises(RenderError, match=r"crashed \(SIGSEGV, signal 11\) while testing.*blend_1\.log"):
        crew.run_jobs(
            [BlendJob("s"), frames],
            what="testing",
            total=1,
            on_frame=ignore_step,
            log_dir=tmp_path,
            stall_s=50.0,
        )
    assert time.monotonic() - began < 20
