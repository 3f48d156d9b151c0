"""Training the video model's decoder: where it starts, what changes, what must not."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from i2v3d.toy import architectures
from i2v3d.toy import family as mini
from miniature.loop import save_half
from miniature.temporal_decoder import decode_clips
from miniature.tests.support import command

pytestmark = pytest.mark.slow  # trainings, and the shipped networks

SHIPPED = Path(__file__).parents[1] / "conf" / "training" / "temporal_decoder.yaml"


def _train(folder: Path, steps: int, weights: str) -> dict[str, float]:
    """A few small steps on the CPU, from folder/weights into folder/out."""
    content = yaml.safe_load(SHIPPED.read_text())
    content["world"] |= {"variants": 40, "pool": 6, "chunk": 2, "samples": 1, "held_out": 4}
    content["world"] |= {"width": 48, "height": 32}
    content["loop"] |= {"max_steps": steps, "batch": 2, "log_every": 1, "warm_up": 1}
    content["frames"] = 3
    config = folder / "tiny.yaml"
    config.write_text(yaml.safe_dump(content))
    words = ["--config", config, "--weights", folder / weights, "--out", folder / "out", "--device", "cpu"]
    command("train", "temporal_decoder", *words)
    scores: dict[str, float] = json.loads((folder / "out" / "temporal_decoder.json").read_text())
    return scores


def test_it_starts_as_the_image_decoder_and_only_the_decoder_changes(tmp_path: Path) -> None:
    image = mini.random_family(5)["image/vae"]
    save_half(image, tmp_path / "weights" / "vae.safetensors")
    scores = _train(tmp_path, 3, "weights")
    assert scores["steps"] == 3 and all(math.isfinite(value) for value in scores.values())
    for name in ("psnr", "psnr_fg", "change", "psnr_noisy", "psnr_fg_noisy", "change_noisy"):
        assert scores[name] != scores[f"copy_{name}"], name
    assert scores["copy_psnr_noisy"] != scores["copy_psnr"], "noise on the latents shows"
    assert (tmp_path / "out" / "temporal_decoder.png").is_file()
    after = load_file(tmp_path / "out" / f"{mini.TEMPORAL_DECODER}.safetensors")
    copied = architectures.video_vae()
    mini.copy_image_decoder(image, copied)
    changed = {name for name, v in copied.state_dict().items() if not torch.equal(v.half(), after[name])}
    assert all(name.startswith("decoder.") for name in changed)
    assert any(".temporal_res_block.conv2." in name for name in changed), "the layers over time learn"


def test_training_goes_on_from_a_trained_decoder(tmp_path: Path) -> None:
    save_half(mini.random_family(5)["image/vae"], tmp_path / "weights" / "vae.safetensors")
    once = _train(tmp_path, 3, "weights")
    (tmp_path / "out" / f"{mini.TEMPORAL_DECODER}.safetensors").rename(
        tmp_path / "weights" / f"{mini.TEMPORAL_DECODER}.safetensors"
    )
    twice = _train(tmp_path, 1, "weights")
    assert twice["copy_psnr"] == once["copy_psnr"] != twice["psnr"]


def test_a_copied_decoder_treats_every_frame_of_every_clip_alone() -> None:
    family = mini.random_family(5)
    image, video = family["image/vae"], family["video/vae"]
    mini.copy_image_decoder(image, video)
    latents = torch.randn(
        2, 3, architectures.LATENT_CHANNELS, 2, 3, generator=torch.Generator().manual_seed(1)
    )
    with torch.no_grad():
        decoded = decode_clips(video, latents)
        assert decoded.shape == (2, 3, 3, 16, 24)
        torch.testing.assert_close(
            decoded[1, 2], image.decode(latents[1, 2][None]).sample[0], atol=1e-5, rtol=0
        )
