"""SDXL inpainting of the published classes and layout: the miniature's text encoders, a random VAE and UNet."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from i2v3d.config.scene import InpaintModelConfig
from i2v3d.errors import WeightsError
from i2v3d.models.inpainter import paint_holes
from tests.support.perception import reference

MINI = Path(__file__).parents[2] / "weights" / "mini" / "image"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> InpaintModelConfig:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    folder = tmp_path_factory.mktemp("inpaint")
    for part in ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"):
        shutil.copytree(MINI / part, folder / part)
    index = json.loads((MINI / "model_index.json").read_text())
    index["_class_name"] = "StableDiffusionXLInpaintPipeline"
    (folder / "model_index.json").write_text(json.dumps(index))
    torch.manual_seed(0)
    config = json.loads((MINI / "vae" / "config.json").read_text())
    narrow = {"latent_channels": 4, "block_out_channels": [32, 32, 32, 32]}
    AutoencoderKL.from_config(config | narrow).save_pretrained(folder / "vae")
    config = json.loads((MINI / "unet" / "config.json").read_text())
    narrow = {"block_out_channels": [32, 32, 32], "attention_head_dim": [2, 2, 2]}
    taken = {"in_channels": 9, "out_channels": 4, "sample_size": 12}
    UNet2DConditionModel.from_config(config | narrow | taken).save_pretrained(folder / "unet")
    return InpaintModelConfig(
        prompt="a table", negative_prompt="", steps=2, guidance=3.0, strength=0.9, seed=1, dtype="float32",
        weights=reference(folder),
    )  # fmt: skip


def picture() -> tuple[np.ndarray, np.ndarray]:
    hole = np.zeros((70, 110), bool)
    hole[20:60, 30:80] = True
    return np.random.default_rng(0).integers(60, 200, (70, 110, 3), dtype=np.uint8), hole


@pytest.mark.slow
def test_only_the_hole_is_painted_and_the_seed_decides(model: InpaintModelConfig) -> None:
    rgb, hole = picture()
    one, same = (paint_holes(model, rgb, hole, "cpu") for _ in range(2))
    np.testing.assert_array_equal(one[~hole], rgb[~hole])
    np.testing.assert_array_equal(one, same)
    middle = np.zeros_like(hole)
    middle[30:50, 40:70] = True
    assert np.abs(one[middle].astype(int) - rgb[middle]).mean() > 5
    other = paint_holes(replace(model, seed=2), rgb, hole, "cpu")
    assert (other[middle] != one[middle]).any()


def test_the_painting_fades_into_the_rim(model: InpaintModelConfig) -> None:
    rgb, hole = picture()
    off = np.abs(paint_holes(model, rgb, hole, "cpu").astype(int) - rgb).mean(axis=-1)
    assert off[20, 30:80].mean() < 0.5 * off[35:45, 40:70].mean()


def test_without_a_hole_nothing_is_loaded() -> None:
    rgb, hole = picture()
    nothing = InpaintModelConfig("", "", 1, 1.0, 1.0, 0, "float32", reference("no/where"))
    assert paint_holes(nothing, rgb, ~hole & hole, "cpu") is rgb


def test_missing_parts_are_named(model: InpaintModelConfig, tmp_path: Path) -> None:
    rgb, hole = picture()
    with pytest.raises(WeightsError, match="hf download no/where"):
        paint_holes(replace(model, weights=reference("no/where")), rgb, hole, "cpu")
    shutil.copytree(model.weights.source, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "vae")
    with pytest.raises(WeightsError, match="copy lacks vae"):
        paint_holes(replace(model, weights=reference(tmp_path / "copy")), rgb, hole, "cpu")
    shutil.copytree(MINI / "vae", tmp_path / "copy" / "vae")
    shutil.rmtree(tmp_path / "copy" / "unet")
    shutil.copytree(MINI / "unet", tmp_path / "copy" / "unet")
    with pytest.raises(WeightsError, match="which is no inpainting of 16 latent ones"):
        paint_holes(replace(model, weights=reference(tmp_path / "copy")), rgb, hole, "cpu")
    (tmp_path / "copy" / "model_index.json").unlink()
    with pytest.raises(WeightsError, match="is no SDXL inpainting pipeline"):
        paint_holes(replace(model, weights=reference(tmp_path / "copy")), rgb, hole, "cpu")
