"""Keyframes under guidance: the loop, what is injected when, and how many pictures a network call has."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import nn

from i2v3d.diffusion.ddim import DDIM
from i2v3d.diffusion.denoiser import Prediction
from i2v3d.diffusion.guidance import Guided
from i2v3d.diffusion.multistep import Multistep, extrapolation
from i2v3d.diffusion.windows import Windows
from i2v3d.errors import ConfigError, LayerError, ShapeError
from i2v3d.guidance.branches import Branches
from i2v3d.guidance.keyframe_denoiser import KeyframeInjection, KeyframeLayers
from i2v3d.guidance.keyframes import (
    KeyframeGuidance,
    KnownFrame,
    guide_keyframes,
    sample_keyframes,
    start_latents,
)
from i2v3d.guidance.masks import FrameMasks, LayerMask
from i2v3d.models.layout import DDIM_SCHEDULER
from i2v3d.models.sdxl import ImageCondition, ImageDenoiser
from tests.support.image_family import CHANNELS, LAYERS, tiny_unet
from tests.support.video_family import seeded

FRAMES, STEPS, HEIGHT, WIDTH = 5, 3, 4, 4
EVERYTHING = KeyframeInjection(1.0, 1.0, 1.0, compat_inclusive_tau=False)
GUIDANCE = KeyframeGuidance(
    3.0,
    EVERYTHING,
    extended_attention=True,
    shared="background",
    window=3,
    overlap=1,
    solver="ddim",
    unconditional_every=1,
    cache_interval=1,
    strength=1.0,
)


# ---------------------------------------------------------------- the loop
def test_start_is_inverted_where_visible_and_noise_elsewhere() -> None:
    visible = torch.tensor([[[True, False]]])
    start = start_latents(torch.ones(1, 2, 1, 2), visible, torch.zeros(1, 2, 1, 2))
    assert start.tolist() == [[[[1, 0]], [[1, 0]]]]


def test_the_keyframe_loop_goes_down_the_levels_and_averages_windows() -> None:
    sampler, windows = DDIM.from_config(DDIM_SCHEDULER, 3), Windows.over(3, 2, 1)
    seen = []

    def denoiser(x: torch.Tensor, level: float, step: int) -> Prediction:
        seen.append((level, step))
        rows = torch.arange(4.0).reshape(4, 1, 1, 1)  # frames 0, 1, 1, 2
        return Prediction(torch.zeros_like(x), rows)

    start = torch.zeros(3, 1, 1, 1)
    trajectory = sample_keyframes(sampler, start, sampler.steps, Guided(denoiser, 1.0), windows)
    assert seen == [(667, 0), (334, 1), (1, 2)]
    shared = torch.tensor([0.0, 1.5, 3.0]).reshape(3, 1, 1, 1)  # frame 1 lies in two windows
    assert torch.allclose(trajectory[0], sampler.move(start, shared, 3, 2), atol=1e-6)
    assert len(trajectory) == 3


def test_steps_of_second_order_go_on_from_the_clean_latents_of_the_step_before() -> None:
    sampler, windows = DDIM.from_config(DDIM_SCHEDULER, 3), Windows.over(2, 2, 0)
    noises = [torch.full((2, 1, 1, 1), value) for value in (0.5, -0.3, 0.2)]

    def denoiser(x: torch.Tensor, level: float, step: int) -> Prediction:
        return Prediction(torch.zeros_like(x), noises[step])

    def sampled(multistep: Multistep | None) -> list[torch.Tensor]:
        start = torch.tensor([1.0, -2.0]).reshape(2, 1, 1, 1)
        return sample_keyframes(
            sampler, start, sampler.steps, Guided(denoiser, 1.0), windows, multistep=multistep
        )

    first, second = sampled(None), sampled(Multistep(sampler.sigmas))
    torch.testing.assert_close(second[0], first[0])
    start = torch.tensor([1.0, -2.0]).reshape(2, 1, 1, 1)
    clean = [sampler.clean(start, noises[0], 3), sampler.clean(first[0], noises[1], 2)]
    along = clean[1] + extrapolation(*sampler.sigmas[:3]) * (clean[1] - clean[0])
    expected = sampler.move(first[0], sampler.noise(first[0], along, 2), 2, 1)
    torch.testing.assert_close(second[1], expected)
    torch.testing.assert_close(second[2], sampler.move(second[1], noises[2], 1, 0))


def test_a_known_keyframe_keeps_its_picture_at_every_level_and_leaves_the_others_alone() -> None:
    sampler, windows = DDIM.from_config(DDIM_SCHEDULER, 3), Windows.over(3, 2, 1)
    clean, noise = torch.full((1, 1, 1), 2.0), torch.full((1, 1, 1), -1.0)
    known, seen = KnownFrame(1, clean, noise), []

    def denoiser(x: torch.Tensor, level: float, step: int) -> Prediction:
        seen.append(x[[1, 2]].flatten().tolist())  # the rows of frame 1, one a window
        return Prediction(torch.zeros_like(x), 0.5 * x)

    start = torch.arange(3.0).reshape(3, 1, 1, 1)
    found = sample_keyframes(sampler, start, sampler.steps, Guided(denoiser, 1.0), windows, known=known)
    for level, rows in zip((3, 2, 1), seen, strict=True):
        expected = sampler.alpha_bar[level] ** 0.5 * 2 - (1 - sampler.alpha_bar[level]) ** 0.5
        assert rows == pytest.approx([expected, expected])
    assert torch.equal(found[-1][1], clean)
    without = sample_keyframes(sampler, start, sampler.steps, Guided(denoiser, 1.0), windows)
    assert torch.equal(found[-1][[0, 2]], without[-1][[0, 2]])


# ---------------------------------------------------------------- what is injected when
def mask_names(limits: KeyframeInjection, steps: int) -> list[str | None]:
    """Which mask the attention's injection has at every step."""
    masks = FrameMasks(*(LayerMask(torch.zeros(1, 1, 1, dtype=torch.bool)) for _ in range(2)))
    names = {id(masks.visible): "visible", id(masks.foreground): "foreground"}
    found = [limits.attention_mask(masks, step, steps) for step in range(steps)]
    return [None if mask is None else names[id(mask)] for mask in found]


@pytest.mark.parametrize(
    ("foreground", "background", "inclusive", "expected"),
    [
        (1.0, 0.8, False, "vvvvf"),  # as published
        (1.0, 0.8, True, "vvvvv"),  # as released
        (0.6, 0.4, True, "vvvf-"),
        (0.4, 0.8, False, "vvff-"),  # after the smaller limit the foreground, whichever it is
        (0.6, 0.0, False, "fff--"),
        (0.0, 0.0, False, "-----"),
    ],
)
def test_the_foreground_is_injected_between_the_two_limits(
    foreground: float, background: float, inclusive: bool, expected: str
) -> None:
    limits = KeyframeInjection(foreground, background, 0.0, inclusive)
    letters = {"v": "visible", "f": "foreground", "-": None}
    assert mask_names(limits, 5) == [letters[letter] for letter in expected]


# ---------------------------------------------------------------- whole keyframes on a small network
@dataclass(frozen=True)
class CountingDenoiser(ImageDenoiser):
    """Notes how many pictures each network call has."""

    calls: list[int] = field(default_factory=list)

    def __call__(self, x: torch.Tensor, level: float, condition: ImageCondition) -> torch.Tensor:
        self.calls.append(len(x))
        return super().__call__(x, level, condition)


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    return seeded(tiny_unet)


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def condition(seed: int) -> ImageCondition:
    text, pooled = random(seed, 1, 4, 128), random(seed + 1, 1, 64)
    return ImageCondition(
        text.expand(FRAMES, -1, -1), pooled.expand(FRAMES, -1), torch.ones(FRAMES, 6), None, 0.0
    )


def generated(
    network: ImageDenoiser,
    guidance: KeyframeGuidance = GUIDANCE,
    max_batch: int = 0,
    layers: KeyframeLayers | None = None,
    steps: int = STEPS,
    source_steps: int | None = None,
) -> torch.Tensor:
    """The latents after every step."""
    visible = torch.zeros(FRAMES, HEIGHT, WIDTH, dtype=torch.bool)
    visible[:, 1:] = True
    foreground = torch.zeros_like(visible)
    foreground[:, 1:3, 1:3] = True
    trajectory = guide_keyframes(
        network,
        layers or KeyframeLayers(LAYERS.attention, LAYERS.conv),
        DDIM.from_config(DDIM_SCHEDULER, steps),
        random(1, source_steps or steps, FRAMES, CHANNELS, HEIGHT, WIDTH),
        Branches(condition(10), condition(20), condition(30)),
        FrameMasks(LayerMask(visible), LayerMask(foreground)),
        random(2, FRAMES, CHANNELS, HEIGHT, WIDTH),
        guidance,
        max_batch=max_batch,
    )
    return torch.stack(trajectory)


@pytest.mark.parametrize(
    ("extended", "calls"),  # pictures of each call, by max_batch
    [
        (
            True,
            {
                0: [18],  # windows of 3 and 3, with three branches
                1: [9, 9],  # one window with its branches is the least
                2: [9, 9],
                9: [9, 9],
                18: [18],
            },
        ),
        (False, {0: [18], 1: [3] * 6, 7: [6] * 3}),  # then a frame is a window of its own
    ],
)
def test_a_network_call_has_at_most_max_batch_pictures_or_one_window(
    unet: nn.Module, extended: bool, calls: dict[int, list[int]]
) -> None:
    guidance, whole = replace(GUIDANCE, extended_attention=extended), None
    for max_batch, expected in calls.items():
        network = CountingDenoiser(unet, None, torch.float32)
        found = generated(network, guidance, max_batch, steps=2)
        assert network.calls == expected * 2, max_batch
        whole = found if whole is None else whole  # the first is of one call
        torch.testing.assert_close(found, whole, rtol=1e-3, atol=1e-4)


def test_the_source_branch_is_left_out_once_nothing_is_injected(unet: nn.Module) -> None:
    network = CountingDenoiser(unet, None, torch.float32)
    generated(network, replace(GUIDANCE, injection=KeyframeInjection(0.3, 0.3, 0.6, False)))
    assert network.calls == [18, 18, 12]
    network.calls.clear()
    generated(network, replace(GUIDANCE, injection=None))
    assert network.calls == [12] * STEPS


def test_the_unconditional_branch_is_computed_at_every_second_step(unet: nn.Module) -> None:
    network = CountingDenoiser(unet, None, torch.float32)
    generated(network, replace(GUIDANCE, unconditional_every=2))
    assert network.calls == [18, 12, 18]
    network.calls.clear()
    generated(network, replace(GUIDANCE, unconditional_every=2, injection=None), max_batch=9)
    assert network.calls == [6, 6, 3, 3, 6, 6]


def test_a_strength_runs_the_last_steps_from_the_inversion_there(unet: nn.Module) -> None:
    network = CountingDenoiser(unet, None, torch.float32)
    whole = generated(network, GUIDANCE)
    network.calls.clear()
    last = generated(network, replace(GUIDANCE, strength=0.67))
    assert len(whole) == STEPS and len(last) == 2 and network.calls == [18] * 2
    network.calls.clear()
    (one,) = generated(network, replace(GUIDANCE, strength=0.01))
    assert network.calls == [18], "one step at least"
    assert (one - whole[-1]).abs().max() > 1e-3


def test_networks_of_diffusers_refuse_to_keep_deep_features(unet: nn.Module) -> None:
    with pytest.raises(ConfigError, match=r"cache_interval is 2, which only fast networks know.*perf=fast"):
        generated(ImageDenoiser(unet, None, torch.float32), replace(GUIDANCE, cache_interval=2))


@pytest.mark.slow
def test_every_kind_of_guidance_has_an_effect_and_leaves_the_network_as_it_was(unet: nn.Module) -> None:
    network = ImageDenoiser(unet, None, torch.float32)
    plain = replace(GUIDANCE, injection=None, extended_attention=False)
    before = generated(network, plain)
    for changed in (
        replace(plain, scale=1.0),
        replace(plain, extended_attention=True),
        replace(plain, injection=KeyframeInjection(1.0, 0.0, 0.0, False)),
        replace(plain, injection=KeyframeInjection(0.0, 0.0, 1.0, False)),
        replace(plain, solver="dpmpp_2m"),
        replace(plain, unconditional_every=2),
    ):
        assert (generated(network, changed)[-1] - before[-1]).abs().max() > 1e-4
    assert torch.equal(generated(network, plain), before)


def test_a_source_of_other_steps_is_refused(unet: nn.Module) -> None:
    with pytest.raises(ShapeError, match="the source has 4 noise levels; expected one a step, 3"):
        generated(ImageDenoiser(unet, None, torch.float32), source_steps=4)


def test_a_layer_that_does_not_exist_is_refused(unet: nn.Module) -> None:
    with pytest.raises(LayerError, match="matches no module"):
        generated(ImageDenoiser(unet, None, torch.float32), layers=KeyframeLayers(("nope",), LAYERS.conv))
