"""Feature injection: names, what is copied where, and that nothing of it stays behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from torch import nn

from i2v3d.errors import LayerError, ShapeError
from i2v3d.guidance.injection import FeatureCopy, InjectionPlan, inject, resolve_layers, transformer_of
from i2v3d.guidance.masks import LayerMask
from tests.support.image_family import CHANNELS, LAYERS, tiny_unet

ITEMS, HEIGHT, WIDTH = 2, 8, 12
BRANCHES = 3
ATTENTION = "up_blocks.0.attentions.0.transformer_blocks.0.attn1"
CONV = "up_blocks.1.resnets.0.conv2"


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return tiny_unet().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def video_unet() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return (
            UNetSpatioTemporalConditionModel(
                in_channels=8,
                out_channels=4,
                block_out_channels=(32, 32),
                down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
                up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
                layers_per_block=1,
                cross_attention_dim=16,
                num_attention_heads=(2, 2),
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=24,
                num_frames=3,
            )
            .eval()
            .requires_grad_(False)
        )


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def run(unet: nn.Module, branches: int = BRANCHES, height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    rows = branches * ITEMS
    added = {"text_embeds": randn(rows, 64), "time_ids": torch.ones(rows, 6)}
    return unet(randn(rows, CHANNELS, height, width), 3, randn(rows, 5, 128), added_cond_kwargs=added).sample


def run_video(unet: nn.Module) -> torch.Tensor:
    rows, frames = BRANCHES * 2, 3  # two directions
    return unet(randn(rows, frames, 8, 8, 12), 3.0, randn(rows, 1, 16), torch.ones(rows, 3)).sample


@contextmanager
def recorded(network: nn.Module, *names: str) -> Iterator[dict[str, torch.Tensor]]:
    """Collects the outputs of modules, after every hook that is there at the time of the call."""
    outputs: dict[str, torch.Tensor] = {}
    handles = [
        network.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: outputs.__setitem__(name, output)
        )
        for name in names
    ]
    yield outputs
    for handle in handles:
        handle.remove()


def half_mask() -> LayerMask:
    """Another pattern for each item; the top-left quarter pixel-wise for the first one."""
    mask = torch.zeros(ITEMS, 4 * HEIGHT, 4 * WIDTH, dtype=torch.bool)
    mask[0, : 2 * HEIGHT, : 2 * WIDTH] = True
    mask[1, :, 3 * WIDTH :] = True
    return LayerMask(mask)


def plan(*copies: FeatureCopy) -> InjectionPlan:
    return InjectionPlan(copies, BRANCHES)


def test_patterns_resolve_in_the_networks_order(unet: nn.Module) -> None:
    names = resolve_layers(unet, LAYERS.attention)
    assert len(names) == 2 * 2 + 2 * 1  # two attentions of two blocks, two of one
    assert all(name.startswith(("up_blocks.0", "up_blocks.1")) and name.endswith("attn1") for name in names)
    assert len(resolve_layers(unet, LAYERS.conv)) == 6


def test_a_pattern_without_a_match_is_an_error_with_the_nearest_names(unet: nn.Module) -> None:
    with pytest.raises(
        LayerError, match=r"matches no module of UNet2DConditionModel; did you mean '.*conv2'"
    ):
        resolve_layers(unet, (*LAYERS.conv, "up_blocks.1.resnet.0.conv2"))


def test_an_unknown_name_is_an_error(unet: nn.Module) -> None:
    with (
        pytest.raises(LayerError, match="has no layer"),
        inject(unet, plan(FeatureCopy("output", ("nope",), None))),
    ):
        pass


def test_the_transformer_around_an_attention_is_found(unet: nn.Module) -> None:
    assert transformer_of(unet, ATTENTION) == "up_blocks.0.attentions.0"
    with pytest.raises(LayerError, match="lies in no spatial transformer"):
        transformer_of(unet, CONV)


def test_output_is_copied_exactly_where_the_mask_is_set(unet: nn.Module) -> None:
    mask = half_mask()
    with recorded(unet, CONV) as plain:
        run(unet)
    with inject(unet, plan(FeatureCopy("output", (CONV,), mask))), recorded(unet, CONV) as injected:
        run(unet)
    before, after = (x[CONV].unflatten(0, (BRANCHES, ITEMS)) for x in (plain, injected))
    where = mask.at(*before.shape[-2:])[:, None]
    assert torch.equal(after[0], before[0])
    for branch in (1, 2):
        assert torch.equal(after[branch], torch.where(where, before[0], before[branch]))


@pytest.mark.parametrize(("height", "width"), [(8, 12), (12, 8), (20, 4)])
def test_query_and_key_are_copied_at_every_aspect(unet: nn.Module, height: int, width: int) -> None:
    """Also where two sizes have equally many tokens: the layer's own height and width decide."""
    mask = half_mask()
    names = (f"{ATTENTION}.to_q", f"{ATTENTION}.to_k", f"{ATTENTION}.to_v")
    with recorded(unet, *names) as plain:
        run(unet, height=height, width=width)
    copies = plan(FeatureCopy("query_key", (ATTENTION,), mask))
    with inject(unet, copies), recorded(unet, *names) as injected:
        run(unet, height=height, width=width)
    where = mask.at(height // 4, width // 4).flatten(1)[..., None]
    for name in names:
        before, after = (x[name].unflatten(0, (BRANCHES, ITEMS)) for x in (plain, injected))
        expected = before if name.endswith("to_v") else torch.where(where, before[:1], before)
        assert torch.equal(after, expected)


def test_without_a_mask_everything_is_copied(unet: nn.Module) -> None:
    with inject(unet, plan(FeatureCopy("output", (CONV,), None))), recorded(unet, CONV) as injected:
        run(unet)
    after = injected[CONV].unflatten(0, (BRANCHES, ITEMS))
    assert torch.equal(after[1], after[0])
    assert torch.equal(after[2], after[0])


def test_injection_changes_the_other_branches_and_never_the_source(unet: nn.Module) -> None:
    attention, conv = resolve_layers(unet, LAYERS.attention), resolve_layers(unet, LAYERS.conv)
    before = run(unet)
    copies = plan(FeatureCopy("query_key", attention, half_mask()), FeatureCopy("output", conv, half_mask()))
    with inject(unet, copies):
        during = run(unet)
    assert torch.equal(during[:ITEMS], before[:ITEMS])
    assert not torch.allclose(during[ITEMS:], before[ITEMS:], atol=1e-4)


def test_afterwards_the_network_is_bit_identical(unet: nn.Module) -> None:
    before = run(unet)
    conv = FeatureCopy("output", resolve_layers(unet, LAYERS.conv), half_mask())
    with inject(
        unet, plan(FeatureCopy("query_key", resolve_layers(unet, LAYERS.attention), half_mask()), conv)
    ):
        run(unet)
    assert torch.equal(run(unet), before)
    with pytest.raises(RuntimeError, match="stop"), inject(unet, plan(conv)):
        raise RuntimeError("stop")
    assert torch.equal(run(unet), before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in unet.modules())


def test_an_empty_plan_installs_nothing(unet: nn.Module) -> None:
    with inject(unet, plan()):
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in unet.modules())


def test_an_empty_mask_changes_nothing(unet: nn.Module) -> None:
    empty = LayerMask(torch.zeros(ITEMS, HEIGHT, WIDTH, dtype=torch.bool))
    before = run(unet)
    with inject(unet, plan(FeatureCopy("query_key", resolve_layers(unet, LAYERS.attention), empty))):
        assert torch.equal(run(unet), before)


def test_rows_that_do_not_fit_the_masks_are_refused(unet: nn.Module) -> None:
    copies = plan(FeatureCopy("output", (CONV,), half_mask()))
    with inject(unet, copies), pytest.raises(ShapeError, match="sees 8 rows; expected 3 branches of 2 items"):
        run(unet, branches=4)


def test_the_spatio_temporal_network_is_served_alike(video_unet: nn.Module) -> None:
    attention = resolve_layers(video_unet, ("up_blocks.1.attentions.*.transformer_blocks.*.attn1",))
    block = resolve_layers(video_unet, ("up_blocks.1.resnets.1",))
    query = f"{attention[0]}.to_q"
    mask = torch.zeros(2 * 3, 32, 48, dtype=torch.bool)  # directions x frames
    mask[4, :16] = True
    before = run_video(video_unet)
    with recorded(video_unet, query) as plain:
        run_video(video_unet)
    copies = plan(FeatureCopy("query_key", attention, LayerMask(mask)), FeatureCopy("output", block, None))
    with inject(video_unet, copies), recorded(video_unet, query, block[0]) as injected:
        during = run_video(video_unet)
    old, new = (x[query].unflatten(0, (BRANCHES, 6)) for x in (plain, injected))
    where = LayerMask(mask).tokens(8, 12)[..., None]
    assert torch.equal(new, torch.where(where, old[:1], old))
    whole = injected[block[0]].unflatten(0, (BRANCHES, 6))
    assert torch.equal(whole[1], whole[0])
    assert not torch.allclose(during[2:], before[2:], atol=1e-4)
    assert torch.equal(run_video(video_unet), before)
