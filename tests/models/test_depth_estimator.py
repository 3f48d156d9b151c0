"""Depth Anything's and Depth Pro's classes and file layouts, on small networks with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from i2v3d.errors import WeightsError
from i2v3d.models.depth_estimator import estimate_depth
from tests.support.networks import loaded_once
from tests.support.perception import reference, save_depth_anything, save_depth_pro


@pytest.fixture(scope="module", autouse=True)
def _loaded_once() -> Iterator[None]:
    with loaded_once():
        yield


def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (48, 80, 3), dtype=np.uint8)


@pytest.mark.parametrize(("metric", "kind"), [(False, "disparity"), (True, "metric")])
def test_depth_has_the_pictures_size_and_its_kind(tmp_path: Path, metric: bool, kind: str) -> None:
    ref = save_depth_anything(tmp_path, metric)
    values, found = estimate_depth(ref, photo(), "cpu")
    assert values.shape == (48, 80) and values.dtype == np.float32 and found == kind
    assert np.isfinite(values).all() and (values > 0 if metric else values >= 0).all()
    again, _ = estimate_depth(ref, photo(), "cpu")
    np.testing.assert_array_equal(values, again)
    other, _ = estimate_depth(ref, 255 - photo(), "cpu")
    assert (values != other).any()


def test_missing_parts_are_named(tmp_path: Path) -> None:
    ref = save_depth_anything(tmp_path, metric=False)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match="preprocessor_config"):
        estimate_depth(ref, photo(), "cpu")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="safetensors"):
        estimate_depth(ref, photo(), "cpu")
    with pytest.raises(WeightsError, match="hf download some/where"):
        estimate_depth(reference("some/where"), photo(), "cpu")


@pytest.mark.parametrize(("fov", "kind"), [(True, "metric"), (False, "disparity")])
def test_depth_pro_is_metric_by_its_own_field_of_view(tmp_path: Path, fov: bool, kind: str) -> None:
    ref = save_depth_pro(tmp_path, fov)
    values, found = estimate_depth(ref, photo(), "cpu")
    assert values.shape == (48, 80) and values.dtype == np.float32 and found == kind
    assert np.isfinite(values).all() and (values >= 0).all()
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(WeightsError, match="preprocessor_config"):
        estimate_depth(ref, photo(), "cpu")


def test_another_kind_of_network_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(
        WeightsError, match="is of the type 'bert'; expected one of depth_anything, depth_pro"
    ):
        estimate_depth(reference(tmp_path), photo(), "cpu")
