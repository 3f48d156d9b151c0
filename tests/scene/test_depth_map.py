"""Depth maps from files, their fit to the scene, and what is done behind the foreground and at ramps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from PIL import Image

from i2v3d.errors import ConfigError, InputError
from i2v3d.images import write_depth
from i2v3d.scene.background.depth_map import (
    Fit,
    fill_behind,
    fit_disparity,
    fit_metric,
    load_depth,
    sharpened,
    to_metres,
)
from i2v3d.scene.background.ground_and_wall import surface_depth
from i2v3d.scene.photo.view import PhotoView

HEIGHT, WIDTH = 48, 64
VIEW = PhotoView(WIDTH, HEIGHT, focal_px=60.0, horizon_px=14.0, camera_height_m=1.2)


def centres() -> np.ndarray:
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    return np.stack([x, y], axis=-1)


def reference() -> np.ndarray:
    return surface_depth(VIEW, centres(), 5.0)


def saved(folder: Path, suffix: str, depth_m: np.ndarray) -> Path:
    path = folder / f"depth.{suffix}"
    if suffix == "png":
        Image.fromarray((depth_m * 1000).round().astype(np.uint16)).save(path)
    elif suffix == "exr":
        write_depth(path, depth_m.astype(np.float32))
    else:
        np.save(path, depth_m)
    return path


@pytest.mark.parametrize(("suffix", "unit_m"), [("png", 0.001), ("exr", 1.0), ("npy", 1.0)])
def test_every_format_gives_metres(tmp_path: Path, suffix: str, unit_m: float) -> None:
    path = saved(tmp_path, suffix, reference())
    np.testing.assert_allclose(load_depth(path, WIDTH, HEIGHT, unit_m, "metric"), reference(), atol=5.1e-4)


def test_a_point_map_gives_its_depth_and_other_channels_are_found(tmp_path: Path) -> None:
    np.save(
        tmp_path / "points.npy", VIEW.points(centres(), reference()) * 0 + reference()[..., None] * [0, 0, 1]
    )
    found = load_depth(tmp_path / "points.npy", WIDTH, HEIGHT, 1.0, "metric")
    np.testing.assert_allclose(found, reference(), rtol=1e-6)
    grey = {"Y": reference().astype(np.float16)}
    with OpenEXR.File({"type": OpenEXR.scanlineimage}, grey) as file:
        file.write(str(tmp_path / "grey.exr"))
    np.testing.assert_allclose(
        load_depth(tmp_path / "grey.exr", WIDTH, HEIGHT, 1.0, "metric"), reference(), rtol=1e-3
    )


def test_zero_and_not_finite_are_far_in_metric_maps(tmp_path: Path) -> None:
    depth = reference()
    depth[0, 0], depth[1, 1], depth[2, 2] = 0, np.inf, np.nan
    np.save(tmp_path / "d.npy", depth)
    found = load_depth(tmp_path / "d.npy", WIDTH, HEIGHT, 1.0, "metric")
    assert np.isinf(found[[0, 1, 2], [0, 1, 2]]).all() and np.isinf(found).sum() == 3
    assert to_metres(found, "metric", Fit(1.0, 0.0, 0.0), 100.0).max() == 100.0


def _bad(folder: Path, name: str) -> Path:
    path = folder / name
    if name == "eight_bits.png":
        Image.fromarray(np.full((HEIGHT, WIDTH), 9, np.uint8)).save(path)
    elif name == "small.npy":
        np.save(path, reference()[::2])
    elif name == "negative.npy":
        np.save(path, -reference())
    elif name == "nothing.npy":
        np.save(path, np.full((HEIGHT, WIDTH), np.nan))
    elif name == "pickled.npy":
        np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    elif name == "cut.exr":
        whole = saved(folder, "exr", reference()).read_bytes()
        path.write_bytes(whole[: len(whole) // 3])
    elif name == "text.png":
        path.write_bytes(b"no picture")
    elif name == "empty.exr":
        path.write_bytes(b"")
    elif name == "depth.tiff":
        path.write_bytes(b"II*\0")
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.npy", "does not exist"),
        ("empty.exr", "is empty"),
        ("depth.tiff", r"is no \.png, \.exr, \.npy file"),
        ("text.png", "not a readable PNG"),
        ("eight_bits.png", "expected grey of 16 bits"),
        ("cut.exr", "not a readable EXR"),
        ("pickled.npy", r"not a readable \.npy array"),
        ("small.npy", "is 64x24 but the photo is 64x48"),
        ("negative.npy", "holds negative numbers"),
        ("nothing.npy", "on 0% of its pixels only"),
    ],
)
def test_bad_maps_are_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_depth(_bad(tmp_path, name), WIDTH, HEIGHT, 1.0, "metric")


# ---------------------------------------------------------------- fit
def test_a_metric_map_of_another_scale_is_brought_back() -> None:
    fit = fit_metric((reference() / 2.5).astype(np.float32), reference(), np.ones((HEIGHT, WIDTH), bool))
    assert fit.scale == pytest.approx(2.5) and fit.error < 1e-6


def test_disparity_of_any_scale_is_brought_back_in_spite_of_things_in_the_way() -> None:
    disparity = 40.0 / reference() + 3.0
    disparity[10:25, 5:30] += 12.0  # a sixth of the frame stands nearer than the ground
    noise = np.random.default_rng(0).normal(0, 0.05, disparity.shape)
    fit = fit_disparity((disparity + noise).astype(np.float32), reference(), np.ones((HEIGHT, WIDTH), bool))
    depth = to_metres(disparity.astype(np.float32), "disparity", fit, 100.0)
    behind = np.ones((HEIGHT, WIDTH), bool)
    behind[10:25, 5:30] = False
    assert np.median(np.abs(depth / reference() - 1)[behind]) < 0.01
    assert depth[15, 10] < 0.8 * reference()[15, 10]


def test_a_map_that_cannot_be_fitted_is_refused() -> None:
    everywhere = np.ones((HEIGHT, WIDTH), bool)
    for bad in (np.full((HEIGHT, WIDTH), 7.0), reference()):  # constant; large is far
        with pytest.raises(ConfigError, match="does not come nearer where the ground does"):
            fit_disparity(bad.astype(np.float32), reference(), everywhere)
    with pytest.raises(ConfigError, match="only 0 pixels"):
        fit_metric(reference().astype(np.float32), reference(), ~everywhere)


# ---------------------------------------------------------------- behind the foreground, and ramps
def test_the_hole_behind_the_foreground_is_filled_from_around_it() -> None:
    depth, hole = reference(), np.zeros((HEIGHT, WIDTH), bool)
    hole[20:40, 20:40] = True
    object_in_it = np.where(hole, 0.5, depth)
    filled = fill_behind(object_in_it, hole)
    assert (filled[~hole] == depth[~hole]).all()
    assert np.abs(filled / depth - 1)[hole].max() < 0.35 and filled[hole].min() > 1.0


def test_a_ramp_becomes_a_step_and_a_slanted_plane_stays() -> None:
    ramp = np.interp(np.arange(40.0), [18, 22], [1.0, 0.25])[None].repeat(10, axis=0)
    steep = sharpened(ramp, 3, 0.08)[5]
    assert set(np.round(steep, 6)) == {1.0, 0.25} and np.flatnonzero(np.diff(steep)).tolist() in ([19], [20])
    plane = 1.0 / reference()
    np.testing.assert_allclose(sharpened(plane, 2, 0.5), plane, rtol=1e-5)
    assert sharpened(ramp, 0, 0.08) is ramp
