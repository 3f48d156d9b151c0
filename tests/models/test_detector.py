"""Grounding DINO's classes and file layout, on a small network with random weights."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from i2v3d.config.weights import WeightsRef
from i2v3d.errors import InputError, WeightsError
from i2v3d.models import detector
from i2v3d.models.detector import text_box
from tests.support.networks import loaded_once
from tests.support.perception import reference, save_grounding_dino


@pytest.fixture(scope="module", autouse=True)
def _loaded_once() -> Iterator[None]:
    with loaded_once():
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> WeightsRef:
    return save_grounding_dino(tmp_path_factory.mktemp("dino"))


def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)


def test_a_box_lies_in_the_photo_and_is_the_same_again(
    weights: WeightsRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector, "SURE", 0.0)  # random weights are sure of nothing
    left, top, right, bottom = box = text_box(weights, photo(), "Grey cat", "cpu")
    assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
    assert text_box(weights, photo(), "grey cat.", "cpu") == box


def test_what_the_network_does_not_see_is_refused_with_what_helps(
    weights: WeightsRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector, "SURE", 1.0)
    with pytest.raises(InputError, match=r"sees no 'dog' on the photo .* give scene\.segment\.box"):
        text_box(weights, photo(), "dog", "cpu")


def test_missing_parts_are_named(weights: WeightsRef, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"0\.2 GB, licence: Apache-2\.0.*hf download some/where"):
        text_box(reference("some/where"), photo(), "cat", "cpu")
    shutil.copytree(weights.source, tmp_path / "copy")
    (tmp_path / "copy" / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match="lacks its tokenizer or preprocessor"):
        text_box(reference(tmp_path / "copy"), photo(), "cat", "cpu")
