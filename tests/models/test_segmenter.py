"""SAM 2's classes and file layout, on a small network with random weights: loading, prompts, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from i2v3d.config.weights import WeightsRef
from i2v3d.errors import WeightsError
from i2v3d.models.segmenter import sam2_mask
from tests.support.networks import loaded_once
from tests.support.perception import reference, save_sam2

BOX = (0.25, 0.125, 0.75, 1.0)


@pytest.fixture(scope="module", autouse=True)
def _loaded_once() -> Iterator[None]:
    with loaded_once():
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> WeightsRef:
    return save_sam2(tmp_path_factory.mktemp("sam2"))


def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)


def seen_by_the_network(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the network is called with; it still runs."""
    from transformers import Sam2Model

    calls: list[dict[str, Any]] = []
    forward = Sam2Model.forward

    def spy(self: Any, **words: Any) -> Any:
        calls.append(words)
        return forward(self, **words)

    monkeypatch.setattr(Sam2Model, "forward", spy)
    return calls


def test_the_mask_has_the_photos_size_and_is_the_same_again(weights: WeightsRef) -> None:
    first, second = (sam2_mask(weights, photo(), BOX, [(0.5, 0.5)], [(0.1, 0.1)], "cpu") for _ in range(2))
    assert first.shape == (60, 90) and first.dtype == np.bool_
    np.testing.assert_array_equal(first, second)


def test_prompts_arrive_in_the_networks_pixels(weights: WeightsRef, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = seen_by_the_network(monkeypatch)
    sam2_mask(weights, photo(), BOX, [(0.5, 0.25)], [(0.0, 1.0)], "cpu")
    sam2_mask(weights, photo(), None, [(0.5, 0.25)], [], "cpu")
    boxed, pointed = calls
    assert boxed["input_boxes"].tolist() == [[[32.0, 16.0, 96.0, 128.0]]]
    assert boxed["input_points"].tolist() == [[[[64.0, 32.0], [0.0, 128.0]]]]
    assert boxed["input_labels"].tolist() == [[[1, 0]]]
    assert not boxed["multimask_output"] and pointed["multimask_output"] and "input_boxes" not in pointed
    expected = (torch.tensor(photo()[0, 0]) / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
        [0.229, 0.224, 0.225]
    )
    assert boxed["pixel_values"].shape == (1, 3, 128, 128)
    torch.testing.assert_close(
        boxed["pixel_values"][0, :, 0, 0].double(), expected.double(), atol=0.6, rtol=0
    )


def test_different_prompts_can_give_different_masks(weights: WeightsRef) -> None:
    masks = [sam2_mask(weights, photo(), None, [p], [], "cpu") for p in ((0.1, 0.1), (0.9, 0.9))]
    assert (masks[0] != masks[1]).any()


def test_weights_that_are_not_there_are_told_with_what_fetches_them() -> None:
    ref = WeightsRef(
        source="facebook/sam2-none",
        revision=None,
        subfolder=None,
        variant=None,
        size_gb=0.2,
        licence="Apache-2.0",
    )
    with pytest.raises(WeightsError, match=r"0\.2 GB, licence: Apache-2\.0.*hf download facebook/sam2-none"):
        sam2_mask(ref, photo(), BOX, [], [], "cpu")


def test_corrupt_and_foreign_weights_are_named(weights: WeightsRef, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((Path(weights.source) / name).read_bytes())
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"model\.safetensors is corrupt"):
        sam2_mask(reference(tmp_path), photo(), BOX, [], [], "cpu")
