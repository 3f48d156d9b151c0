"""The shipped photos' animations as users first see them, at low resolution."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from i2v3d.cli import main
from i2v3d.images import read_mask, read_rgb, read_video
from tests.support.checkout import make_checkout, snakemake

pytestmark = pytest.mark.slow

SCENES = ("astronaut", "coffee", "coffee_figure")
WORDS = (f"scene={','.join(SCENES)}", "scene.width=96", "scene.height=64", "render.samples=2", "run=shipped")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """results/shipped of a checkout in which the previews of all three have run."""
    folder = make_checkout(tmp_path_factory.mktemp("shipped") / "checkout")
    done = snakemake(folder, "preview", overrides=WORDS, settings={"multirun": "true"})
    assert done.returncode == 0, done.stdout[-5000:]
    return folder / "results" / "shipped"


def stage(results: Path, scene: str, name: str) -> Path:
    """The folder of a scene's stage in the cache."""
    plan = [json.loads(path.read_text()) for path in (results.parent / ".cache/plan/variants").glob("*.json")]
    (keys,) = [variant["keys"] for variant in plan if variant["config"]["scene"]["name"] == scene]
    return results.parent / ".cache" / name / keys[name]


@pytest.mark.parametrize("scene", SCENES)
def test_camera_and_object_move_and_nothing_is_missing(scene: str, results: Path) -> None:
    video = read_video(results / f"scene={scene}" / "preview" / "coarse.mp4").astype(float)
    assert video.shape == (15, 64, 96, 3)
    assert np.abs(video[-1] - video[0]).mean() > 4
    render = stage(results, scene, "render")
    for frame in range(1, 16):
        assert read_mask(render / "mask" / f"{frame:04d}.png").mean() > 0.999, f"hole in frame {frame}"
    poses = np.array(json.loads((render / "cameras.json").read_text())["w2c"])
    assert np.abs(poses[-1] - poses[0]).max() > 0.02
    metrics = json.loads((render / "metrics.json").read_text())
    assert metrics["photo_psnr_foreground_db"] > 28  # at a tenth of the size, two samples a pixel


def test_the_figure_walks_in_and_waves(results: Path) -> None:
    """Blue as nothing in the photo is: not in the first frame, then from the right to its place, then still."""
    render, columns = stage(results, "coffee_figure", "render"), {}
    for frame in range(1, 16):
        red, _, blue = np.moveaxis(read_rgb(render / "rgb" / f"{frame:04d}.png").astype(int), -1, 0)
        found = np.argwhere(blue > red + 20)
        columns[frame] = found[:, 1].mean() if len(found) > 2 else None
    assert columns[1] is None and columns[15] is not None
    walked = [columns[frame] for frame in range(5, 9) if columns[frame] is not None]
    assert len(walked) >= 3 and walked[0] - walked[-1] > 4
    pictures = [read_rgb(render / "rgb" / f"{frame:04d}.png").astype(int) for frame in (12, 13)]
    left = int(columns[12] - 12)
    assert np.abs(pictures[1] - pictures[0])[:, max(0, left) :].max() > 40  # the arm goes on moving


def test_a_run_s_previews_fit_on_one_picture(results: Path, tmp_path: Path, capsys) -> None:
    names = [f"scene={scene}" for scene in SCENES]
    words = ["strips", str(results), str(tmp_path / "s.jpg"), "--frames", "3", "--variants", *names]
    assert main(words) == 0 and "3 variants" in capsys.readouterr().out
    assert read_rgb(tmp_path / "s.jpg").shape[1] > 3 * 90
    assert main(["strips", str(tmp_path), str(tmp_path / "s.jpg")]) == 2
    assert "holds no previews" in capsys.readouterr().err
