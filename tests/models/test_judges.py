"""Published networks as judges: tiny ones of the real classes, saved as they lie in a model cache."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from i2v3d.config.evaluate import EstimatorsConfig
from i2v3d.config.weights import WeightsRef
from i2v3d.errors import ShapeError, WeightsError
from i2v3d.metrics.control import depth_of_disparity, depth_si_rmse
from i2v3d.models.judges import Preprocessor, load_judges
from i2v3d.models.lpips import CONVOLUTIONS, FILE, Lpips
from i2v3d.toy.judge import load_toy_judges

SIZE = {"height": 32, "width": 32}


def reference(folder: Path) -> WeightsRef:
    return WeightsRef(
        source=str(folder), revision=None, subfolder=None, variant=None, size_gb=0.0, licence="none"
    )


def preprocessor(folder: Path) -> None:
    data = {"size": SIZE, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    (folder / "preprocessor_config.json").write_text(json.dumps(data))


def save_networks(folder: Path) -> None:
    """clip, dino and depth."""
    from transformers import (
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
        DepthAnythingConfig,
        DepthAnythingForDepthEstimation,
        Dinov2Config,
        Dinov2Model,
    )

    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}
    clip = CLIPVisionConfig(**small, intermediate_size=16, image_size=32, patch_size=8, projection_dim=12)
    dino = Dinov2Config(**small, image_size=32, patch_size=8)
    deep = {**small, "num_hidden_layers": 4}
    backbone = Dinov2Config(
        **deep, image_size=32, patch_size=8, out_indices=[1, 2, 3, 4], reshape_hidden_states=False
    )
    depth = DepthAnythingConfig(
        backbone_config=backbone, patch_size=8, reassemble_hidden_size=16, neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8, head_hidden_size=8,
    )  # fmt: skip
    networks = {
        "clip": CLIPVisionModelWithProjection(clip),
        "dino": Dinov2Model(dino),
        "depth": DepthAnythingForDepthEstimation(depth),
    }
    for name, network in networks.items():
        network.save_pretrained(folder / name)
        preprocessor(folder / name)


def save_lpips(folder: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for k, (number, (before, after, kernel, _, _)) in enumerate(CONVOLUTIONS.items()):
        shape = (after, before, kernel, kernel)
        tensors[f"features.{number}.weight"] = torch.randn(shape, generator=generator) / kernel / before**0.5
        tensors[f"features.{number}.bias"] = torch.zeros(after)
        tensors[f"lin{k}.model.1.weight"] = torch.rand((1, after, 1, 1), generator=generator)
    folder.mkdir()
    save_file(tensors, folder / FILE)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    save_networks(folder)
    save_lpips(folder / "lpips")
    return folder


def estimators(weights: Path) -> EstimatorsConfig:
    names = ("toy", "depth", "mask", "clip", "dino", "lpips")
    return EstimatorsConfig(**{name: reference(weights / name) for name in names})


def pictures(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def test_what_is_there_judges_and_what_is_missing_is_named(weights: Path) -> None:
    judges = load_judges(estimators(weights), class_name="cup", device="cpu")
    assert set(judges.names) == {"depth_si_rmse", "depth_si_rmse_fg", "clip_i", "dino", "lpips"}
    assert judges.names["dino"] == str(weights / "dino")
    assert "mask does not exist" in judges.skipped["mask_iou"]
    assert "toy scenes only" in judges.skipped["identity"]
    toy = load_toy_judges(estimators(weights), device="cpu")
    assert toy.depth_m is None and "toy does not exist" in toy.skipped["depth_si_rmse"]


def test_embeddings_see_the_object_and_nothing_else(weights: Path) -> None:
    judges = load_judges(estimators(weights), class_name="cup", device="cpu")
    seen = pictures()
    inside = torch.zeros(2, 64, 96, dtype=torch.bool)
    inside[:, 10:40, 20:60] = True
    elsewhere = torch.where(inside[:, None], seen, 1 - seen)
    recoloured = torch.where(inside[:, None], 1 - seen, seen)
    for name, width in (("clip_i", 12), ("dino", 16)):
        one = judges.embeddings[name](seen, inside)
        assert one.shape == (2, width)
        assert torch.allclose(one, judges.embeddings[name](elsewhere, inside), atol=1e-5)
        assert not torch.allclose(one, judges.embeddings[name](recoloured, inside), atol=1e-3)


def test_relative_depth_is_judged_after_its_scale_and_shift_are_fitted(weights: Path) -> None:
    judges = load_judges(estimators(weights), class_name="cup", device="cpu")
    assert judges.depth_m is None and judges.disparity is not None
    assert judges.disparity(pictures()).shape == (2, 64, 96)
    rendered = 2 + 3 * torch.rand(2, 64, 96, generator=torch.Generator().manual_seed(2))
    everywhere = torch.ones(2, 64, 96, dtype=torch.bool)
    aligned = depth_of_disparity(7 / rendered + 0.4, rendered, everywhere)
    assert torch.allclose(aligned, rendered, rtol=1e-3)
    assert (depth_si_rmse(aligned, rendered, everywhere) < 1e-3).all()


def test_lpips_is_zero_for_equals_grows_with_the_difference_and_refuses_other_sizes(weights: Path) -> None:
    network = Lpips.load(weights / "lpips")
    seen = pictures()
    assert torch.equal(network.distance(seen, seen), torch.zeros(2))
    little, much = ((seen + step).clamp(0, 1) for step in (0.05, 0.4))
    assert (network.distance(little, seen) > 0).all()
    assert (network.distance(much, seen) > network.distance(little, seen)).all()
    with pytest.raises(ShapeError, match="compare equal"):
        network.distance(seen, seen[..., :64])


def test_files_that_are_no_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=FILE):
        Lpips.load(tmp_path)
    with pytest.raises(WeightsError, match=r"preprocessor_config\.json"):
        Preprocessor(tmp_path)


def test_broken_weights_are_an_error_and_not_left_out(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "config.json").write_text("{}")
    broken = dataclasses.replace(estimators(weights), toy=reference(tmp_path / "toy"))
    with pytest.raises(WeightsError, match="no estimator"):
        load_toy_judges(broken, device="cpu")
