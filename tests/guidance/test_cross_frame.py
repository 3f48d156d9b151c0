"""Extended attention against the naive one with a dense mask."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from i2v3d.errors import ShapeError
from i2v3d.guidance.cross_frame import CrossFramePlan, extend_attention, windowed_attention
from i2v3d.guidance.injection import FeatureCopy, InjectionPlan, inject, resolve_layers
from i2v3d.guidance.masks import LayerMask
from tests.support.image_family import CHANNELS, LAYERS, tiny_unet

FRAMES, HEIGHT, WIDTH = 3, 4, 6
TOKENS, HEADS, CHANNELS_A_HEAD = HEIGHT * WIDTH, 2, 8


def naive(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, foreground: torch.Tensor
) -> torch.Tensor:
    """All frames in one sequence under a dense mask. q, k, v: (branches, frames, L, heads, width)."""
    frames, tokens = foreground.shape
    frame = torch.arange(frames).repeat_interleave(tokens)
    background = ~foreground.flatten()
    mask = (frame[:, None] == frame[None]) | (background[:, None] & background[None])
    q, k, v = (x.flatten(1, 2).transpose(1, 2) for x in (query, key, value))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return out.transpose(1, 2).unflatten(1, (frames, tokens))


def some_foreground(kind: str, height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    mask = torch.rand(FRAMES, height, width, generator=torch.Generator().manual_seed(4)) > 0.6
    if kind == "one_frame_full":
        mask[1] = True
    elif kind == "one_frame_empty":
        mask[2] = False
    elif kind == "none":
        mask[:] = False
    elif kind == "all":
        mask[:] = True
    return mask


@pytest.mark.parametrize("kind", ["some", "one_frame_full", "one_frame_empty", "none", "all"])
def test_it_equals_the_dense_mask(kind: str) -> None:
    shape = (2, FRAMES, TOKENS, HEADS, CHANNELS_A_HEAD)
    query, key, value = torch.randn(
        3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    foreground = some_foreground(kind)
    (window,) = CrossFramePlan(LayerMask(foreground), [FRAMES], branches=3, plain=1).tokens((HEIGHT, WIDTH))
    expected = naive(query, key, value, foreground.flatten(1))
    assert torch.allclose(windowed_attention(query, key, value, window), expected, atol=1e-12)


def test_a_window_of_one_frame_is_plain_self_attention() -> None:
    query, key, value = torch.randn(3, 1, 1, TOKENS, HEADS, 8, generator=torch.Generator().manual_seed(0))
    foreground = some_foreground("some")[:1]
    (window,) = CrossFramePlan(LayerMask(foreground), [1], branches=2, plain=0).tokens((HEIGHT, WIDTH))
    plain = F.scaled_dot_product_attention(*(x[:, 0].transpose(1, 2) for x in (query, key, value)))
    attended = windowed_attention(query, key, value, window)[:, 0].transpose(1, 2)
    assert torch.allclose(attended, plain, atol=1e-6)


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return tiny_unet().eval().requires_grad_(False)


def inputs(branches: int, frames: int = FRAMES) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    rows = branches * frames
    shapes = ((rows, CHANNELS, 8, 12), (rows, 5, 128), (rows, 64), (rows, 6))
    return [torch.randn(shape, generator=generator) for shape in shapes]


def run(
    unet: nn.Module, latents: torch.Tensor, text: torch.Tensor, pooled: torch.Tensor, ids: torch.Tensor
) -> torch.Tensor:
    return unet(latents, 5, text, added_cond_kwargs={"text_embeds": pooled, "time_ids": ids}).sample


def plan(branches: int, plain: int, windows: list[int] | None = None, kind: str = "some") -> CrossFramePlan:
    foreground = LayerMask(some_foreground(kind, 32, 48))
    return CrossFramePlan(foreground, windows or [FRAMES], branches, plain)


def test_the_source_stays_and_the_other_branches_change(unet: nn.Module) -> None:
    names, rows = resolve_layers(unet, LAYERS.attention), inputs(3)
    before = run(unet, *rows)
    with extend_attention(unet, names, plan(3, 1)):
        during = run(unet, *rows)
    assert torch.allclose(during[:FRAMES], before[:FRAMES], atol=1e-5)
    assert not torch.allclose(during[FRAMES:], before[FRAMES:], atol=1e-3)


def test_afterwards_the_network_is_bit_identical(unet: nn.Module) -> None:
    names, rows = resolve_layers(unet, LAYERS.attention), inputs(3)
    before, processors = run(unet, *rows), unet.attn_processors
    with extend_attention(unet, names, plan(3, 1)):
        run(unet, *rows)
    assert torch.equal(run(unet, *rows), before)
    assert unet.attn_processors == processors
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in unet.modules())


def test_without_shared_background_it_is_plain_self_attention(unet: nn.Module) -> None:
    names, rows = resolve_layers(unet, LAYERS.attention), inputs(2)
    before = run(unet, *rows)
    for same in (plan(2, 0, kind="all"), plan(2, 0, windows=[1, 1, 1])):
        with extend_attention(unet, names, same):
            assert torch.allclose(run(unet, *rows), before, atol=1e-5)


def test_windows_do_not_see_each_other(unet: nn.Module) -> None:
    names, (latents, *others) = resolve_layers(unet, LAYERS.attention), inputs(2)
    changed = latents.clone()
    changed[[2, 5]] += 1  # the third frame in both branches: a window of its own
    with extend_attention(unet, names, plan(2, 0, windows=[2, 1])):
        first, second = run(unet, latents, *others), run(unet, changed, *others)
    assert torch.allclose(first[[0, 1, 3, 4]], second[[0, 1, 3, 4]], atol=1e-5)
    with extend_attention(unet, names, plan(2, 0)):
        third = run(unet, changed, *others)
    assert not torch.allclose(first[[0, 1, 3, 4]], third[[0, 1, 3, 4]], atol=1e-3)


def test_leaving_the_source_out_changes_nothing_for_the_rest(unet: nn.Module) -> None:
    names, rows = resolve_layers(unet, LAYERS.attention), inputs(3)
    with extend_attention(unet, names, plan(3, 1)):
        whole = run(unet, *rows)
    with extend_attention(unet, names, plan(2, 0)):
        guided = run(unet, *(x[FRAMES:] for x in rows))
    assert torch.allclose(whole[FRAMES:], guided, atol=1e-5)


def test_injected_queries_and_keys_are_what_it_attends_with(unet: nn.Module) -> None:
    names, rows = resolve_layers(unet, LAYERS.attention), inputs(3)
    everywhere = LayerMask(torch.ones(FRAMES, 32, 48, dtype=torch.bool))
    copies = InjectionPlan((FeatureCopy("query_key", names, everywhere),), branches=3)
    with extend_attention(unet, names, plan(3, 1)):
        without = run(unet, *rows)
        with inject(unet, copies):
            injected = run(unet, *rows)
    assert torch.equal(injected[:FRAMES], without[:FRAMES])
    assert not torch.allclose(injected[FRAMES:], without[FRAMES:], atol=1e-3)


def test_what_does_not_fit_is_refused(unet: nn.Module) -> None:
    with pytest.raises(ShapeError, match=r"windows of \[2\] frames do not add up to 3 items"):
        plan(3, 1, windows=[2])
    names = resolve_layers(unet, LAYERS.attention)
    with extend_attention(unet, names, plan(3, 1)), pytest.raises(ShapeError, match="sees 6 rows"):
        run(unet, *inputs(2))
