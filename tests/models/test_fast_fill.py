"""What makes Wan VACE's transformer faster changes no number of it, on tiny random networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.activations import GELU
from torch import Tensor, nn
from torch.nn import functional

from i2v3d.config.models import WanVaceNetworks
from i2v3d.models.fast.fill import FusedGelu, compiling_pays, fuse_gelu, keep_token_order, linear_gelu
from i2v3d.models.wan_vace_weights import load_transformer
from tests.support.image_family import reference
from tests.support.vace_family import velocity, write_tiny_pipeline


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> WanVaceNetworks:
    folder = tmp_path_factory.mktemp("vace")
    write_tiny_pipeline(folder)
    return WanVaceNetworks(reference(folder), "float32", storage=None, transformer=None, loras=())


@pytest.fixture
def transformer(weights: WanVaceNetworks) -> Any:
    return load_transformer(weights, "cpu")


def test_features_lie_token_by_token_and_are_the_same(transformer: Any) -> None:
    orders = []
    for block in (transformer.blocks[0], transformer.vace_blocks[0]):
        block.register_forward_pre_hook(lambda _, args: orders.append(args[0].is_contiguous()))
    expected = velocity(transformer)
    keep_token_order(transformer)
    torch.testing.assert_close(velocity(transformer), expected, rtol=1e-5, atol=1e-6)
    assert orders == [False, False, True, True]


def test_gelu_within_the_product_is_gelu_behind_it(transformer: Any) -> None:
    expected = velocity(transformer)
    fuse_gelu(transformer)
    blocks = [*transformer.blocks, *transformer.vace_blocks]
    fused = [module for block in blocks for module in block.modules() if isinstance(module, FusedGelu)]
    assert len(fused) == len(blocks)
    assert torch.equal(velocity(transformer), expected)


def test_layers_of_other_weights_keep_their_own_gelu() -> None:
    """Such as those of a GGUF file or with an adapter, which do more than their weight says."""

    class Adapted(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    layer = GELU(4, 8, approximate="tanh")
    layer.proj = Adapted(4, 8)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    expected = layer(x)
    fuse_gelu(layer)
    assert torch.equal(layer(x), expected)


def test_the_operation_is_one_that_can_be_compiled() -> None:
    random = torch.Generator().manual_seed(1)
    x, weight, bias = (torch.randn(*shape, generator=random) for shape in ((2, 3, 4), (5, 4), (5,)))
    torch.library.opcheck(linear_gelu, (x, weight, bias))
    assert torch.equal(linear_gelu(x, weight, bias), functional.gelu(x @ weight.T + bias, approximate="tanh"))


def test_compiling_pays_for_long_samplings_of_long_clips_alone() -> None:
    assert not compiling_pays(calls=8, tokens=34320) and not compiling_pays(calls=100, tokens=1000)
    assert not compiling_pays(calls=99, tokens=34320)
    assert compiling_pays(calls=100, tokens=34320), "a segment of 81 frames in 50 steps, as measured"
