"""The fast networks compute what diffusers' networks compute, and leave those as they were."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from i2v3d.models.fast import ops
from i2v3d.models.fast.image import FastImageNetwork
from i2v3d.models.fast.video import FastVideoNetwork
from i2v3d.models.sdxl import ImageCondition, ImageDenoiser
from i2v3d.models.sdxl_weights import take_depth_embedding
from i2v3d.models.temporal_controlnet import denoise_with_residuals
from tests.support import image_family, video_family
from tests.support.video_family import seeded

CLIP = 4, 6  # latents of the video networks, which halve them once
PICTURE = 4, 8  # latents of the image networks, which halve them twice


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shaken(network: nn.Module) -> nn.Module:
    """The network with noise on all weights: zero convolutions would hide what lies behind them."""
    for number, parameter in enumerate(network.parameters()):
        parameter.data += 0.05 * random(number, *parameter.shape)
    return network


def values(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def assert_kept(network: nn.Module, before: dict[str, Tensor]) -> None:
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert float((found - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.parametrize("scale", [0.0, 0.7])
@torch.no_grad()
def test_the_fast_video_network_is_unet_and_controlnet(scale: float) -> None:
    unet, controlnet = shaken(seeded(video_family.tiny_unet)), shaken(seeded(video_family.tiny_controlnet))
    sample, control = random(1, 3, 4, 12, *CLIP), random(2, 3, 4, 64, *CLIP)
    arguments = (sample, 0.3, random(3, 3, 1, video_family.EMBED_WIDTH), random(4, 3, 3))
    residuals = controlnet(*arguments, control, scale, embedded=True) if scale else None
    expected = denoise_with_residuals(unet, *arguments, residuals)
    before = values(unet)
    network = FastVideoNetwork(unet, controlnet if scale else None, scale)
    assert_same(network(*arguments, control), expected)
    assert_kept(unet, before)


@pytest.mark.parametrize("scale", [0.0, 0.8])
@torch.no_grad()
def test_the_fast_image_network_is_unet_and_controlnet(scale: float) -> None:
    unet, controlnet = shaken(image_family.tiny_unet()), shaken(image_family.tiny_controlnet())
    take_depth_embedding(controlnet)
    condition = image_condition(unet, 4, scale)
    x = random(5, 4, unet.config.in_channels, *PICTURE)
    expected = ImageDenoiser(unet, controlnet, torch.float32)(x, 500, condition)
    before = values(unet)
    network = FastImageNetwork(unet, controlnet if scale else None, scale)
    prepared = network.prepare(condition.text, condition.pooled, condition.time_ids, condition.control)
    assert_same(network(x, torch.tensor([500]), prepared), expected)
    assert_kept(unet, before)


def image_condition(unet: nn.Module, rows: int, scale: float, seed: int = 0) -> ImageCondition:
    config = unet.config
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    control = random(seed + 4, rows, config.block_out_channels[0], *PICTURE)
    return ImageCondition(
        random(seed + 1, rows, 7, config.cross_attention_dim),
        random(seed + 2, rows, pooled),
        random(seed + 3, rows, 6),
        control if scale else None,
        scale,
    )


@torch.no_grad()
def test_moments_of_a_group_norm_reach_over_the_frames_of_a_clip() -> None:
    norm = nn.GroupNorm(4, 16)
    x, shift = random(1, 6, 5, 16), random(2, 2, 16)
    found = ops.group_norm(x, norm, shift, frames=3, silu=True)
    clips = (x + shift.repeat_interleave(3, 0)[:, None]).unflatten(0, (2, 3)).permute(0, 3, 1, 2)
    expected = functional.silu(norm(clips)).permute(0, 2, 3, 1).flatten(0, 1)
    assert_same(found, expected)


def test_a_token_attends_to_the_keys_of_its_own_sequence_only() -> None:
    qkv = random(1, 6, 3 * 8)
    pairs = [(torch.tensor([4, 1]), torch.tensor([0, 4])), (torch.tensor([0, 2, 3, 5]), torch.arange(6))]
    empty = (torch.tensor([], dtype=torch.long), torch.arange(6))
    found = ops.ragged_attention(qkv, 2, ops.Sequences.of([empty, *pairs]))
    for queries, keys in pairs:
        query, key, value = (
            part[rows].unflatten(-1, (2, 4)).transpose(0, 1)
            for part, rows in zip(qkv.chunk(3, dim=-1), (queries, keys, keys), strict=True)
        )
        expected = functional.scaled_dot_product_attention(query, key, value).transpose(0, 1).flatten(-2)
        assert_same(found[queries], expected)


def test_features_are_copied_into_every_branch_where_the_mask_is_set() -> None:
    x = random(1, 6, 4, 3)  # two source pictures, two branches of two items
    expected, mask = x.clone(), random(2, 2, 4) > 0
    for picture, item in ((2, 0), (3, 1), (4, 0), (5, 1)):
        expected[picture][mask[item]] = x[1 - item][mask[item]]
    ops.copy_where(x, torch.tensor([1, 0]), mask, 2)
    assert torch.equal(x, expected)
