"""Guided passes of the video networks: symmetry in time, batching, injection, what is not computed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from i2v3d.diffusion.fusion import Pass
from i2v3d.guidance.branches import Branches
from i2v3d.guidance.injection import resolve_layers
from i2v3d.guidance.passes import ClipInjection, DirectionalPass, GuidedPasses
from i2v3d.models.svd_denoiser import ClipCondition, ClipDenoiser
from tests.support.video_family import (
    CHANNELS,
    EMBED_WIDTH,
    FACTOR,
    LAYERS,
    seeded,
    tiny_controlnet,
    tiny_unet,
)

FRAMES, HEIGHT, WIDTH, STEPS, SIGMA = 3, 4, 4, 4, 1.5


class CountingDenoiser(ClipDenoiser):
    """Notes how many clips each network call has."""

    def __call__(self, x: torch.Tensor, level: float, condition: ClipCondition) -> torch.Tensor:
        self.__dict__.setdefault("calls", []).append(len(x))
        return super().__call__(x, level, condition)


@pytest.fixture(scope="module")
def networks() -> tuple[nn.Module, nn.Module]:
    """The UNet and the ControlNet; guidance leaves both as they were."""
    return seeded(tiny_unet), seeded(tiny_controlnet)


@pytest.fixture
def denoiser(networks: tuple[nn.Module, nn.Module]) -> CountingDenoiser:
    return CountingDenoiser(*networks, control_scale=1.0)


@pytest.fixture
def layers(denoiser: CountingDenoiser) -> ClipInjection:
    return ClipInjection(
        resolve_layers(denoiser.unet, LAYERS.attention), resolve_layers(denoiser.unet, LAYERS.block), 1.0, 1.0
    )


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def condition(denoiser: ClipDenoiser, seed: int, depth: torch.Tensor) -> ClipCondition:
    return ClipCondition(
        embedding=random(seed, 1, 1, EMBED_WIDTH),
        image_latents=random(seed + 1, 1, CHANNELS, HEIGHT, WIDTH),
        time_ids=torch.tensor([[29.0, 127.0, 0.02]]),
        control=denoiser.control(depth),
    )


def branches(
    source: ClipCondition, keyframe: ClipCondition, unconditional: bool = True
) -> Branches[ClipCondition]:
    return Branches(source, keyframe.unconditional() if unconditional else None, keyframe)


def passes(denoiser: ClipDenoiser, unconditional: bool = True) -> tuple[DirectionalPass, DirectionalPass]:
    """A forward and a reversed pass of one clip, with random sources, keyframes, depth and visibility."""
    depth = random(1, FRAMES, 3, HEIGHT * FACTOR, WIDTH * FACTOR)
    visible = random(2, FRAMES, HEIGHT * FACTOR, WIDTH * FACTOR) > 0
    made = []
    for backwards in (False, True):
        ordered = depth.flip(0) if backwards else depth
        made.append(
            DirectionalPass(
                source=SIGMA * random(10 + backwards, STEPS, FRAMES, CHANNELS, HEIGHT, WIDTH),
                branches=branches(
                    condition(denoiser, 20 + backwards, ordered),
                    condition(denoiser, 30 + backwards, ordered),
                    unconditional,
                ),
                visible=visible.flip(0) if backwards else visible,
                reversed=backwards,
            )
        )
    return made[0], made[1]


BOTH: tuple[Pass, ...] = ("forward", "reversed")


def guided(
    denoiser: ClipDenoiser,
    both: tuple[DirectionalPass, DirectionalPass | None],
    layers: ClipInjection | None,
    max_batch: int = 0,
    every: int = 1,
) -> GuidedPasses:
    return GuidedPasses(denoiser, *both, 1.5, layers, every, max_batch)


def predict(
    sampler: GuidedPasses, x: torch.Tensor, step: int = 0, passes: tuple[Pass, ...] = BOTH
) -> torch.Tensor:
    """The guided predictions of some passes, (passes, F, C, h, w)."""
    return torch.stack([p.guided for p in sampler(x, SIGMA, step, passes)])


def latents() -> torch.Tensor:
    return SIGMA * random(3, FRAMES, CHANNELS, HEIGHT, WIDTH)


def test_reversing_time_and_swapping_the_keyframes_reverses_the_prediction(
    denoiser: CountingDenoiser, layers: ClipInjection
) -> None:
    forward, backward = passes(denoiser)
    expected = predict(guided(denoiser, (forward, backward), layers), latents(), 1)
    swapped = (_turned(backward), _turned(forward))
    turned = predict(guided(denoiser, swapped, layers), latents().flip(0), 1)
    torch.testing.assert_close(turned.flip(0, 1), expected, rtol=1e-4, atol=1e-5)


def _turned(one: DirectionalPass) -> DirectionalPass:
    """The same pass of the clip that is turned round in time: what it sees in its own order stays."""
    return replace(one, reversed=not one.reversed)


@pytest.mark.parametrize(
    ("injected", "calls"),  # clips of each call, by max_batch
    [
        (
            True,
            {
                0: [6],  # two passes of three branches
                1: [3, 3],  # the branches of one pass are the least
                5 * FRAMES: [3, 3],
                6 * FRAMES: [6],
            },
        ),
        (
            False,
            {
                0: [4],  # nothing couples the branches, and there is no source
                1: [1] * 4,  # a clip is the least
                2 * FRAMES: [2, 2],
                3 * FRAMES: [2, 2],
            },
        ),
    ],
)
def test_a_network_call_has_at_most_max_batch_pictures_or_what_cannot_be_split(
    denoiser: CountingDenoiser, layers: ClipInjection, injected: bool, calls: dict[int, list[int]]
) -> None:
    both, whole = passes(denoiser), None
    for max_batch, expected in calls.items():
        denoiser.__dict__["calls"] = []
        found = predict(guided(denoiser, both, layers if injected else None, max_batch=max_batch), latents())
        assert denoiser.__dict__["calls"] == expected, max_batch
        whole = found if whole is None else whole  # the first is of one call
        torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)


def test_only_what_is_read_is_computed(denoiser: CountingDenoiser, layers: ClipInjection) -> None:
    late = ClipInjection(layers.attention, layers.block, tau_attention=0.5, tau_block=0.25)
    sampler = guided(denoiser, passes(denoiser), late)
    for step in range(STEPS):
        sampler(latents(), SIGMA, step, BOTH if step < 3 else ("forward",))
    # source, unconditional, conditional of two passes; then no source; then no reversed pass either
    assert denoiser.__dict__["calls"] == [6, 6, 4, 2]


def test_passes_together_are_the_passes_alone(denoiser: CountingDenoiser, layers: ClipInjection) -> None:
    forward, backward = passes(denoiser)
    sampler = guided(denoiser, (forward, backward), layers)
    both = predict(sampler, latents())
    for index, name in enumerate(BOTH):
        alone = predict(sampler, latents(), passes=(name,))
        torch.testing.assert_close(both[index], alone[0], rtol=1e-4, atol=1e-5)
    assert (both[0] - both[1]).abs().max() > 1e-3


def test_a_pass_that_is_never_read_need_not_exist(denoiser: CountingDenoiser, layers: ClipInjection) -> None:
    forward, backward = passes(denoiser)
    alone, both = (guided(denoiser, (forward, other), layers) for other in (None, backward))
    found, expected = (predict(sampler, latents(), passes=("forward",)) for sampler in (alone, both))
    assert torch.equal(found, expected)


def test_injection_changes_the_prediction_and_leaves_the_network_as_it_was(
    denoiser: CountingDenoiser, layers: ClipInjection
) -> None:
    plain = guided(denoiser, passes(denoiser), None)
    before = predict(plain, latents())
    for tau_attention, tau_block in ((1.0, 0.0), (0.0, 1.0)):
        some = ClipInjection(layers.attention, layers.block, tau_attention, tau_block)
        injected = predict(guided(denoiser, passes(denoiser), some), latents())
        assert (injected - before).abs().max() > 1e-4
    assert torch.equal(predict(plain, latents()), before)


def test_attention_is_injected_only_where_a_surface_is_visible(
    denoiser: CountingDenoiser, layers: ClipInjection
) -> None:
    attention = ClipInjection(layers.attention, layers.block, 1.0, 0.0)
    hidden = tuple(replace(p, visible=torch.zeros_like(p.visible)) for p in passes(denoiser))
    assert len(hidden) == 2
    nothing = predict(guided(denoiser, hidden, attention), latents())
    plain = predict(guided(denoiser, passes(denoiser), None), latents())
    torch.testing.assert_close(nothing, plain, rtol=1e-4, atol=1e-5)


def test_guidance_extrapolates_from_the_unconditional_prediction(denoiser: CountingDenoiser) -> None:
    forward, _ = passes(denoiser)
    x = latents()
    (found,) = GuidedPasses(denoiser, forward, None, 3.0, None, 1, 0)(x, SIGMA, 0, ("forward",))
    unconditional = denoiser(x[None], SIGMA, forward.branches.conditional.unconditional())[0]
    conditional = denoiser(x[None], SIGMA, forward.branches.conditional)[0]
    expected = unconditional + 3.0 * (conditional - unconditional)
    torch.testing.assert_close(found.guided, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.unconditional, unconditional, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("injected", [True, False])
def test_a_guidance_of_one_needs_no_unconditional_branch(
    denoiser: CountingDenoiser, layers: ClipInjection, injected: bool
) -> None:
    used = layers if injected else None
    whole, spared = (
        GuidedPasses(denoiser, *passes(denoiser, unconditional), 1.0, used, 1, 0)
        for unconditional in (True, False)
    )
    expected = predict(whole, latents())
    calls = list(denoiser.__dict__["calls"])
    torch.testing.assert_close(predict(spared, latents()), expected, rtol=1e-4, atol=1e-5)
    assert (calls, denoiser.__dict__["calls"][len(calls) :]) == (([6], [4]) if injected else ([4], [2]))


@pytest.mark.slow
def test_between_its_steps_the_unconditional_branch_keeps_its_distance(
    denoiser: CountingDenoiser, layers: ClipInjection
) -> None:
    exact, sparse = (guided(denoiser, passes(denoiser), layers, every=every) for every in (1, 2))
    first = sparse(latents(), SIGMA, 0, BOTH)
    for found, expected in zip(first, exact(latents(), SIGMA, 0, BOTH), strict=True):
        assert torch.equal(found.guided, expected.guided)
    x = 0.5 * latents()
    denoiser.__dict__["calls"].clear()
    second = sparse(x, SIGMA, 1, BOTH)
    assert denoiser.__dict__["calls"] == [4]  # source and conditional branch of two passes
    for before, found, expected in zip(first, second, exact(x, SIGMA, 1, BOTH), strict=True):
        kept = (
            before.guided - before.unconditional
        ) / 1.5  # guided is 1.5 times as far away as the condition
        conditional = expected.unconditional + (expected.guided - expected.unconditional) / 1.5
        torch.testing.assert_close(found.unconditional, conditional - kept, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.guided, conditional + 0.5 * kept, rtol=1e-4, atol=1e-5)
    denoiser.__dict__["calls"].clear()
    sparse(x, SIGMA, 2, BOTH)
    sparse(x, SIGMA, 3, ("forward",))  # a pass alone has kept nothing yet
    assert denoiser.__dict__["calls"] == [6, 3]


def test_control_scale_zero_leaves_the_controlnet_out(denoiser: CountingDenoiser) -> None:
    forward, _ = passes(denoiser)
    off = ClipDenoiser(denoiser.unet, denoiser.controlnet, 0.0)
    other = condition(denoiser, 30, -random(1, FRAMES, 3, HEIGHT * FACTOR, WIDTH * FACTOR))
    x = latents()[None]
    assert torch.equal(off(x, SIGMA, forward.branches.conditional), off(x, SIGMA, other))
    assert not torch.equal(denoiser(x, SIGMA, forward.branches.conditional), denoiser(x, SIGMA, other))


def test_depth_features_belong_to_their_frames(denoiser: CountingDenoiser) -> None:
    depth = random(1, FRAMES, 3, HEIGHT * FACTOR, WIDTH * FACTOR)
    torch.testing.assert_close(denoiser.control(depth).flip(1), denoiser.control(depth.flip(0)))
