"""The preview: coarse animation and sheet before any diffusion, from the cache that the whole run goes on with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from i2v3d.errors import ArtifactError
from i2v3d.figures.labelled import Panel, labelled_rows
from i2v3d.images import read_rgb, read_video
from i2v3d.report.preview import Coarse, depth_picture, first_frame_words
from tests.support.checkout import make_checkout, planned_jobs, snakemake

WORDS = ("scene=coffee", "scene.width=128", "scene.height=64", "scene.frames=8", "render.samples=2")


@pytest.fixture(scope="module")
def previewed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout in which a small preview has run, without `--cores`."""
    folder = make_checkout(tmp_path_factory.mktemp("previewed") / "checkout")
    done = snakemake(folder, "preview", overrides=WORDS)
    assert done.returncode == 0, done.stdout[-5000:]
    assert "frame 1 against the photo: " in done.stdout and "preview/sheet.png" in done.stdout
    yield folder


@pytest.mark.slow
def test_it_shows_every_frame_and_a_sheet(previewed: Path) -> None:
    results = previewed / "results/demo/base/preview"
    video = read_video(results / "coarse.mp4")
    assert video.shape == (8, 64, 128, 3)
    (rendered,) = (previewed / "results/.cache/render").glob("[0-9a-f]*")
    first = read_rgb(rendered / "rgb" / "0001.png").astype(float)
    assert np.abs(video[0] - first).mean() < 6
    sheet = read_rgb(results / "sheet.png")
    assert sheet.shape[1] > 6 * 200 and sheet.shape[0] > 5 * 100 and sheet.std() > 20
    assert not any((previewed / "results/.cache").glob("views/*/stage.json"))


@pytest.mark.slow
def test_the_whole_run_goes_on_from_there(previewed: Path) -> None:
    plan = snakemake(previewed, "-n", overrides=[*WORDS, "experiment=quick"])
    assert plan.returncode == 0, plan.stdout
    jobs = planned_jobs(plan.stdout)
    assert "scene" not in jobs and "render" not in jobs and jobs["keyframes"] == 1


@pytest.mark.slow
def test_it_needs_no_weights_and_no_segments(previewed: Path) -> None:
    words = [*WORDS, "models.image.base.source=weights/none", "scene.frames=10"]
    plan = snakemake(previewed, "preview", "-n", overrides=words)
    assert plan.returncode == 0, plan.stdout
    assert planned_jobs(plan.stdout) == {"scene": 1, "render": 1, "preview_variant": 1, "preview": 1}
    assert "can be previewed only: scene.frames is 10" in plan.stdout
    both = snakemake(previewed, "preview", "all", "-n", overrides=words)
    assert both.returncode != 0 and "i2v3d: error: " in both.stdout


@pytest.mark.slow
def test_the_render_says_how_well_it_shows_the_photo(previewed: Path) -> None:
    (rendered,) = (previewed / "results/.cache/render").glob("[0-9a-f]*")
    metrics = json.loads((rendered / "metrics.json").read_text())
    assert metrics["photo_psnr_foreground_db"] > 25 and metrics["photo_psnr_db"] > 25
    assert metrics["lit_photo_psnr_db"] > metrics["photo_psnr_db"] - 1, (
        "textures of a photo have its light already"
    )
    assert len(list((rendered / "lit").glob("*.png"))) == len(list((rendered / "rgb").glob("*.png")))
    assert not (rendered / "surface").exists()
    words = first_frame_words(metrics)
    assert f"{metrics['photo_psnr_foreground_db']:.1f} dB in the foreground" in words
    assert first_frame_words({"photo_psnr_db": None}).startswith("frame 1 is not compared with the photo")


@pytest.mark.slow
def test_a_folder_that_lacks_a_pass_is_named(previewed: Path, tmp_path: Path) -> None:
    (scene,), (render,) = ((previewed / "results/.cache" / s).glob("[0-9a-f]*") for s in ("scene", "render"))
    shutil.copytree(render, tmp_path / "render")
    shutil.rmtree(tmp_path / "render" / "depth")
    with pytest.raises(ArtifactError, match="render lacks depth"):
        Coarse.load(scene, tmp_path / "render")


def test_near_is_bright_and_nothing_is_black() -> None:
    picture = depth_picture(np.array([[1.0, 2.0, 4.0, np.inf]]), 1.0, 4.0).astype(int).sum(axis=-1)[0]
    assert picture[0] > picture[1] > picture[2] > picture[3] == 0


def test_rows_are_named_and_panels_keep_their_shape() -> None:
    red, wide = np.full((20, 40, 3), [255, 0, 0], np.uint8), np.full((10, 40, 3), [0, 0, 255], np.uint8)
    sheet = labelled_rows([("one", [Panel("a", red), Panel("b", red)]), ("two", [Panel("", wide)])], 80)
    reds, blues = ((sheet == colour).all(axis=-1).sum() for colour in ([255, 0, 0], [0, 0, 255]))
    assert reds == 2 * 78 * 38 and blues == 78 * 18  # a frame of one pixel around each
    assert (sheet.min(axis=-1) < 60).sum() > 20  # ink
