"""The temporal ControlNet and the UNet run with its residuals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from i2v3d.errors import ShapeError
from i2v3d.models.temporal_controlnet import ConditioningEmbedding, TemporalControlNet, denoise_with_residuals
from tests.support.video_family import (
    CHANNELS,
    EMBED_WIDTH,
    FACTOR,
    NETWORK,
    seeded,
    tiny_controlnet,
    tiny_unet,
)

CLIPS, FRAMES = 2, 3


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    """Nobody changes it."""
    return seeded(tiny_unet)


@pytest.fixture(scope="module")
def controlnet() -> nn.Module:
    """Nobody changes it."""
    return seeded(tiny_controlnet)


def inputs(height: int = 4, width: int = 6) -> tuple[torch.Tensor, float, torch.Tensor, torch.Tensor]:
    """Sample, timestep, image embedding and added time ids."""
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(CLIPS, FRAMES, 2 * CHANNELS, height, width, generator=generator)
    embedding = torch.randn(CLIPS, 1, EMBED_WIDTH, generator=generator)
    return sample, 0.7, embedding, torch.tensor([[29.0, 127.0, 0.02]]).expand(CLIPS, -1)


def condition(height: int = 4, width: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(CLIPS, FRAMES, 3, height * FACTOR, width * FACTOR, generator=generator)


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 7)])
def test_the_bare_unet_computes_what_diffusers_computes(unet: nn.Module, height: int, width: int) -> None:
    sample, timestep, embedding, ids = inputs(height, width)
    expected = unet(sample, torch.tensor(timestep), embedding, ids).sample
    assert torch.equal(denoise_with_residuals(unet, sample, timestep, embedding, ids, None), expected)


def test_a_controlnet_of_a_unet_starts_with_its_encoder_and_changes_nothing(unet: nn.Module) -> None:
    controlnet = TemporalControlNet.from_unet(unet, (8, 8, 16)).eval()
    assert torch.equal(controlnet.conv_in.weight, unet.conv_in.weight)
    assert torch.equal(
        controlnet.down_blocks[0].resnets[0].spatial_res_block.conv1.weight,
        unet.down_blocks[0].resnets[0].spatial_res_block.conv1.weight,
    )
    down, mid = controlnet(*inputs(), condition())
    assert all(not residual.any() for residual in (*down, mid))
    plain = denoise_with_residuals(unet, *inputs(), None)
    assert torch.equal(denoise_with_residuals(unet, *inputs(), (down, mid)), plain)


def test_the_condition_changes_the_prediction_of_its_own_clip_only(
    unet: nn.Module, controlnet: nn.Module
) -> None:
    first, other = condition(), condition()
    other[1] = -other[1]
    predictions = [
        denoise_with_residuals(unet, *inputs(), controlnet(*inputs(), depth)) for depth in (first, other)
    ]
    torch.testing.assert_close(predictions[0][0], predictions[1][0])
    assert (predictions[0][1] - predictions[1][1]).abs().max() > 1e-3


def test_an_embedded_condition_gives_the_same_residuals(controlnet: nn.Module) -> None:
    down, mid = controlnet(*inputs(), condition(), 0.5)
    embedded = controlnet.embed_condition(condition())
    down_again, mid_again = controlnet(*inputs(), embedded, 0.5, embedded=True)
    assert torch.equal(mid, mid_again)
    assert all(torch.equal(a, b) for a, b in zip(down, down_again, strict=True))


def test_residuals_are_linear_in_the_conditioning_scale(controlnet: nn.Module) -> None:
    for once, half in zip(*_flat(controlnet, 1.0, 0.5), strict=True):
        torch.testing.assert_close(once, 2 * half)


def test_cumulative_residuals_are_those_added_after_every_down_block(controlnet: nn.Module) -> None:
    plain = seeded(tiny_controlnet)
    plain.residual_gains = [1] * len(plain.residual_gains)
    added = [torch.zeros_like(r) for r in plain(*inputs(), condition())[0]]
    known = [3, 4]  # skips after each down block: conv_in, one layer, a downsampler; then one layer more
    for count in known:
        for i, residual in enumerate(plain(*inputs(), condition())[0][:count]):
            added[i] = added[i] + residual
    for expected, got in zip(added, controlnet(*inputs(), condition())[0], strict=True):
        torch.testing.assert_close(got, expected)
    once = TemporalControlNet(
        **NETWORK, conditioning_embedding_out_channels=(8, 8, 16), cumulative_residuals=False
    )
    assert once.residual_gains == plain.residual_gains


def test_parameters_have_the_published_names(controlnet: nn.Module) -> None:
    names = set(controlnet.state_dict())
    assert {name.split(".")[0] for name in names} == {
        "add_embedding",
        "controlnet_cond_embedding",
        "controlnet_down_blocks",
        "controlnet_mid_block",
        "conv_in",
        "down_blocks",
        "mid_block",
        "time_embedding",
    }
    assert {"controlnet_cond_embedding.blocks.3.weight", "controlnet_down_blocks.3.bias"} <= names
    assert "controlnet_down_blocks.4.bias" not in names


def test_it_survives_saving_and_loading(controlnet: nn.Module, tmp_path: Path) -> None:
    controlnet.save_pretrained(tmp_path, safe_serialization=True)
    again = TemporalControlNet.from_pretrained(tmp_path).eval()
    assert controlnet.config["conditioning_embedding_out_channels"] == (8, 8, 16)
    saved, loaded = controlnet.state_dict(), again.state_dict()
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)
    for before, after in zip(_flat(controlnet, 1.0)[0], _flat(again, 1.0)[0], strict=True):
        torch.testing.assert_close(before, after)


def test_a_checkpoint_of_the_published_class_loads(controlnet: nn.Module, tmp_path: Path) -> None:
    controlnet.save_pretrained(tmp_path, safe_serialization=True)
    path = tmp_path / "config.json"
    config = {**json.loads(path.read_text()), "_class_name": "ControlNetSDVModel"}
    del config["cumulative_residuals"]
    path.write_text(json.dumps(config))
    loaded, report = TemporalControlNet.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert loaded.residual_gains == [2, 2, 2, 1]


@pytest.mark.parametrize(("channels", "scale"), [((8,), 1), ((8, 8), 2), ((8, 8, 16, 16), 8)])
def test_the_number_of_channel_entries_decides_the_down_scale(channels: tuple[int, ...], scale: int) -> None:
    embedding = ConditioningEmbedding(5, 3, channels)
    assert embedding(torch.zeros(1, 3, 16, 32)).shape == (1, 5, 16 // scale, 32 // scale)


def test_a_condition_of_another_size_is_refused(controlnet: nn.Module) -> None:
    with pytest.raises(ShapeError, match="scales down by 4, which must be the factor of the VAE"):
        controlnet(*inputs(), condition(8, 12))
    with pytest.raises(ShapeError, match="clips, frames"):
        controlnet(*inputs(), condition()[:, :2])


def test_widths_must_be_given_for_every_block() -> None:
    with pytest.raises(ShapeError, match="num_attention_heads has 3 entries for 2 down blocks"):
        TemporalControlNet(**{**NETWORK, "num_attention_heads": (2, 4, 4)})


def test_gradient_checkpointing_gives_the_same_gradient() -> None:
    gradients = []
    for checkpointing in (False, True):
        controlnet = seeded(tiny_controlnet).train().requires_grad_(True)
        if checkpointing:
            controlnet.enable_gradient_checkpointing()
        controlnet(*inputs(), condition())[1].square().mean().backward()
        gradients.append(controlnet.controlnet_cond_embedding.conv_in.weight.grad)
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(*gradients)


def _flat(controlnet: TemporalControlNet, *scales: float) -> list[list[torch.Tensor]]:
    """All residuals at each conditioning scale."""
    residuals = (controlnet(*inputs(), condition(), scale) for scale in scales)
    return [[*down, mid] for down, mid in residuals]
