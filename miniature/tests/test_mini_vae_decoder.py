"""Fine-tuning the miniature's decoder: what changes, what must not, and the loss."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from i2v3d.errors import ConfigError, WeightsError
from i2v3d.toy import family as mini
from miniature.assemble import PARTS
from miniature.loop import save_half
from miniature.settings import VaeDecoderSettings, load
from miniature.tests.support import command
from miniature.vae_decoder import QUIET, log_error, unevenness

pytestmark = pytest.mark.slow  # trainings, and the shipped networks

SHIPPED = Path(__file__).parents[1] / "conf" / "training" / "vae_decoder.yaml"


def _tiny(path: Path, **changes: Any) -> Path:
    """The shipped settings for a few small steps on the CPU."""
    content = yaml.safe_load(SHIPPED.read_text())
    content["world"] |= {"variants": 40, "pool": 8, "chunk": 2, "samples": 1, "held_out": 12}
    content["world"] |= {"width": 48, "height": 32}
    content["loop"] |= {"max_steps": 3, "batch": 2, "log_every": 1, "warm_up": 1}
    path.write_text(yaml.safe_dump({**content, "measured": 4, **changes}))
    return path


def _train(config: Path, weights: Path, out: Path) -> dict[str, float]:
    command("train", "vae_decoder", "--config", config, "--weights", weights, "--out", out, "--device", "cpu")
    scores: dict[str, float] = json.loads((out / "vae_decoder.json").read_text())
    return scores


def test_only_the_decoder_changes(tmp_path: Path) -> None:
    weights, out = tmp_path / "weights", tmp_path / "out"
    save_half(mini.random_family(5)["image/vae"], weights / "vae.safetensors")
    scores = _train(_tiny(tmp_path / "tiny.yaml"), weights, out)
    before, after = load_file(weights / "vae.safetensors"), load_file(out / "vae.safetensors")
    assert PARTS["image/vae"] == "vae" and before.keys() == after.keys()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert "decoder.conv_out.weight" in changed
    assert all(name.startswith("decoder.") for name in changed)
    assert all(math.isfinite(value) for value in scores.values())
    assert scores["psnr"] != scores["before_psnr"] and scores["steps"] == 3
    assert (out / "vae.png").is_file()


def test_missing_weights_and_even_windows_are_refused(tmp_path: Path) -> None:
    config = _tiny(tmp_path / "tiny.yaml")
    with pytest.raises(WeightsError, match=r"vae\.safetensors is missing"):
        _train(config, tmp_path, tmp_path / "out")
    with pytest.raises(ConfigError, match="take 5"):
        load(_tiny(config, window=4), VaeDecoderSettings)


def test_error_is_the_logarithm_of_each_pictures_mean() -> None:
    error = torch.zeros(2, 3, 4, 4)
    error[0], error[1, :, :2] = 0.01, 0.04
    top = torch.zeros(2, 1, 4, 4)
    top[:, :, :2] = 1
    means = [math.log(value + QUIET) for value in (0.01, 0.04, 0.02)]
    assert float(log_error(error, top)) == pytest.approx((means[0] + means[1]) / 2, rel=1e-5)
    assert float(log_error(error, torch.ones_like(top))) == pytest.approx((means[0] + means[2]) / 2, rel=1e-5)
    assert float(log_error(error, torch.zeros_like(top))) == pytest.approx(math.log(QUIET), rel=1e-5)


def test_a_speck_on_one_side_is_uneven_and_a_hard_middle_is_not() -> None:
    error = torch.full((4, 1, 16, 24), 0.001)
    error[..., 4:12, 8:16] = 0.1  # symmetric: objects stand in the middle
    assert torch.allclose(unevenness(error, 3), torch.ones(1, 1, 16, 24))
    error[..., :3, -3:] = 0.005
    uneven = unevenness(error, 3)
    assert float(uneven.max()) == pytest.approx(5.0, rel=1e-4) == float(uneven[0, 0, 1, -2])
    elsewhere = torch.cat([uneven[..., :12].flatten(), uneven[..., 6:, :].flatten()])
    assert torch.allclose(elsewhere, torch.ones_like(elsewhere))
