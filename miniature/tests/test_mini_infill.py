"""Training the miniature of Wan VACE: latents, control clips, and that a few steps run to their scores."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from i2v3d.config.models import TextEncoderConfig, WanVaceNetworks
from i2v3d.models.wan_vace import ClipAutoencoder, embed_texts
from i2v3d.models.wan_vace_weights import check_pair, load_transformer
from i2v3d.toy.estimator import estimator_network
from i2v3d.toy.infill_family import infill_vae
from miniature.infill_pool import Texts
from miniature.infill_vae import decoded, encoded, standardise
from miniature.loop import save_half
from miniature.tests.support import command
from tests.support.image_family import reference

pytestmark = pytest.mark.slow  # trainings

CONF = Path(__file__).parents[1] / "conf" / "training"


def _train(folder: Path, part: str, **changes: object) -> dict[str, float]:
    """A few small steps on the CPU, from folder/weights into folder/weights."""
    content = yaml.safe_load((CONF / f"{part}.yaml").read_text())
    content["world"] |= {"variants": 40, "pool": 8, "chunk": 18, "samples": 1, "held_out": 2}
    content["world"] |= {"width": 48, "height": 32}
    content["loop"] |= {"max_steps": 3, "batch": 2, "log_every": 1, "warm_up": 1}
    config = folder / f"{part}.yaml"
    config.write_text(yaml.safe_dump(content | changes))
    weights = folder / "weights"
    command("train", part, "--config", config, "--weights", weights, "--out", weights, "--device", "cpu")
    scores: dict[str, float] = json.loads((weights / f"{part}.json").read_text())
    return scores


def test_latents_are_standardised_and_clips_stay() -> None:
    torch.manual_seed(2)
    vae = infill_vae().eval().requires_grad_(False)
    clips = torch.rand(3, 9, 3, 16, 24) * 2 - 1
    before = decoded(vae, encoded(vae, clips)[0])
    standardise(vae, encoded(vae, clips)[0])
    latents, _ = encoded(vae, clips)
    spread, centre = torch.std_mean(latents, (0, 2, 3, 4))
    torch.testing.assert_close(spread, torch.ones(48), atol=1e-3, rtol=0)
    torch.testing.assert_close(centre, torch.zeros(48), atol=1e-3, rtol=0)
    torch.testing.assert_close(decoded(vae, latents), before, atol=1e-4, rtol=0)


def test_both_parts_train_one_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    scores = _train(tmp_path, "infill_vae", crop_width=24, crop_height=16)
    assert scores["steps"] == 3 and all(math.isfinite(value) for value in scores.values())
    save_half(estimator_network(), tmp_path / "weights" / "estimator.safetensors")
    scores = _train(tmp_path, "infill", steps=2)
    assert 0 <= scores["mask_iou_both"] <= 1 and 0 <= scores["mask_iou_truth"] <= 1
    assert scores["steps"] == 3 and all(math.isfinite(value) for value in scores.values())
    assert scores["psnr_both"] != scores["psnr_no_depth"] != scores["psnr_inverted"]
    assert (tmp_path / "weights" / "infill.png").is_file()
    command("assemble_infill", "--weights", tmp_path / "weights", "--out", tmp_path / "family")
    family = WanVaceNetworks(reference(tmp_path / "family"), "float32", None, None, ())
    transformer, autoencoder = load_transformer(family, "cpu"), ClipAutoencoder.load(family.base, "cpu")
    trained = load_file(tmp_path / "weights" / "infill.safetensors")
    assert torch.equal(transformer.proj_out.weight, trained["proj_out.weight"].float())
    texts = embed_texts(TextEncoderConfig(family.base, "float32", 24), ["", "a photo of a red cup"], "cpu")
    check_pair(transformer, autoencoder, texts[1], (128, 192))
    torch.testing.assert_close(
        texts, Texts(torch.device("cpu"))(["", "a photo of a red cup"]), atol=2e-2, rtol=1e-2
    )  # written in half precision
    weights = sum(path.stat().st_size for path in (tmp_path / "family").rglob("*.safetensors"))
    assert weights < 7.3e6
