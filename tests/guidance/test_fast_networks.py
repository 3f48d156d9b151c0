"""Steered fast networks predict what hooks on diffusers' networks predict."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from i2v3d.diffusion.denoiser import Prediction
from i2v3d.diffusion.windows import Windows
from i2v3d.errors import LayerError
from i2v3d.guidance.branches import Branches
from i2v3d.guidance.clip_features import SourceMemory, copied_of_clips
from i2v3d.guidance.fast_image import FastImageDenoiser
from i2v3d.guidance.fast_video import FastClipDenoiser, replaced_block
from i2v3d.guidance.injection import FeatureCopy, InjectionPlan, resolve_layers
from i2v3d.guidance.keyframe_denoiser import KeyframeDenoiser, KeyframeInjection, KeyframeLayers
from i2v3d.guidance.masks import FrameMasks, LayerMask
from i2v3d.guidance.passes import ClipInjection, DirectionalPass, GuidedPasses
from i2v3d.models.fast.image import FastImageNetwork
from i2v3d.models.sdxl import ImageDenoiser
from i2v3d.models.sdxl_weights import take_depth_embedding
from i2v3d.models.svd_denoiser import ClipCondition, ClipDenoiser
from tests.models.test_fast_networks import CLIP, PICTURE, assert_same, image_condition, random, shaken
from tests.support import image_family, video_family
from tests.support.video_family import seeded

FRAMES, STEPS = 3, 10
MASK = 16, 24  # pixels of a picture of a clip


@pytest.fixture(scope="module")
def clip_networks() -> tuple[ClipDenoiser, FastClipDenoiser]:
    unet, controlnet = shaken(seeded(video_family.tiny_unet)), shaken(seeded(video_family.tiny_controlnet))
    return ClipDenoiser(unet, controlnet, 0.7), FastClipDenoiser(unet, controlnet, 0.7)


def clip_condition(seed: int) -> ClipCondition:
    return ClipCondition(
        random(seed, 1, 1, video_family.EMBED_WIDTH),
        random(seed + 1, 1, video_family.CHANNELS, *CLIP),
        random(seed + 2, 1, 3),
        random(seed + 3, 1, FRAMES, 64, *CLIP),
    )


def clip_pass(seed: int, unconditional: bool, backwards: bool) -> DirectionalPass:
    condition = clip_condition(seed)
    return DirectionalPass(
        random(seed + 4, STEPS, FRAMES, video_family.CHANNELS, *CLIP),
        Branches(clip_condition(seed + 5), condition.unconditional() if unconditional else None, condition),
        random(seed + 6, FRAMES, *MASK) > 0,
        backwards,
    )


@pytest.mark.parametrize(("unconditional", "max_batch"), [(True, 0), (False, 3 * FRAMES)])
@pytest.mark.parametrize(  # attention and block, attention, nothing is injected
    "step", [0, *(pytest.param(step, marks=pytest.mark.slow) for step in (6, 9))]
)
@torch.no_grad()
def test_clips(
    clip_networks: tuple[ClipDenoiser, FastClipDenoiser], unconditional: bool, max_batch: int, step: int
) -> None:
    injection = ClipInjection(
        resolve_layers(clip_networks[0].unet, video_family.LAYERS.attention),
        resolve_layers(clip_networks[0].unet, video_family.LAYERS.block),
        0.8,
        0.5,
    )
    both = clip_pass(10, unconditional, False), clip_pass(30, unconditional, True)
    x = random(1, FRAMES, video_family.CHANNELS, *CLIP)
    plain, fast = (
        GuidedPasses(network, *both, 1.5 if unconditional else 1.0, injection, 1, max_batch)(
            x, 0.9, step, ("forward", "reversed")
        )
        for network in clip_networks
    )
    for found, expected in zip(fast, plain, strict=True):
        assert_same(found.guided, expected.guided)
        assert_same(found.unconditional, expected.unconditional)


@torch.no_grad()
def test_clips_whose_unconditional_branch_is_sparse(
    clip_networks: tuple[ClipDenoiser, FastClipDenoiser],
) -> None:
    names = [
        resolve_layers(clip_networks[0].unet, patterns)
        for patterns in (video_family.LAYERS.attention, video_family.LAYERS.block)
    ]
    both = clip_pass(10, True, False), clip_pass(30, True, True)
    plain, fast = (
        GuidedPasses(network, *both, 1.5, ClipInjection(names[0], names[1], 1.0, 1.0), 2, 0)
        for network in clip_networks
    )
    for step in (0, 1):
        x = random(step, FRAMES, video_family.CHANNELS, *CLIP)
        expected, found = (each(x, 0.9, step, ("forward", "reversed")) for each in (plain, fast))
        for ours, theirs in zip(found, expected, strict=True):
            assert_same(ours.guided, theirs.guided)


@pytest.mark.parametrize("remembered", [False, True])
@torch.no_grad()
def test_clips_in_calls_of_their_own(
    clip_networks: tuple[ClipDenoiser, FastClipDenoiser], remembered: bool
) -> None:
    plain, shared = clip_networks
    fast = FastClipDenoiser(shared.unet, shared.controlnet, 0.7, 0 if remembered else FRAMES)
    layers = (video_family.LAYERS.attention, video_family.LAYERS.block)
    names = [resolve_layers(plain.unet, patterns) for patterns in layers]
    injection = ClipInjection(names[0], names[1], 0.8, 0.5)
    both, x = (
        (clip_pass(10, True, False), clip_pass(30, True, True)),
        random(1, FRAMES, video_family.CHANNELS, *CLIP),
    )
    expected = GuidedPasses(plain, *both, 1.5, injection, 1, 0)(x, 0.9, 0, ("forward", "reversed"))
    if remembered:  # as an inversion leaves it
        memory = SourceMemory(copied_of_clips(injection), 1e9)
        fast.remember(memory)
        source = both[0].branches.source.join([p.branches.source for p in both])
        fast(torch.stack([p.source[0] for p in both]), 0.9, source)
        memory.close()
        assert (
            memory.take(0.9, random(2, 2, FRAMES, video_family.CHANNELS, *CLIP)) is None
        )  # of other latents nothing is known
    found = GuidedPasses(fast, *both, 1.5, injection, 1, 0)(x, 0.9, 0, ("forward", "reversed"))
    for ours, theirs in zip(found, expected, strict=True):
        assert_same(ours.guided, theirs.guided)
    if remembered:
        assert memory.take(0.9, torch.stack([p.source[0] for p in both])) is None  # it has been taken


def test_a_block_of_the_encoder_is_refused_with_the_way_out() -> None:
    plan = InjectionPlan((FeatureCopy("output", ("down_blocks.0.resnets.0",), None),), branches=3)
    with pytest.raises(LayerError, match=r"down_blocks\.0\.resnets\.0.*runtime\.perf=plain"):
        replaced_block(plan, 1)


@pytest.fixture(scope="module")
def image_networks() -> tuple[ImageDenoiser, FastImageDenoiser]:
    unet, controlnet = shaken(image_family.tiny_unet()), shaken(image_family.tiny_controlnet())
    take_depth_embedding(controlnet)
    network = FastImageNetwork(unet, controlnet, 0.8)
    return ImageDenoiser(unet, controlnet, torch.float32), FastImageDenoiser(
        unet, controlnet, torch.float32, network
    )


def keyframe_denoiser(
    extended: bool, injected: bool, max_batch: int, every: int = 1, interval: int = 1
) -> Callable[[ImageDenoiser], KeyframeDenoiser]:
    """A denoiser of seven frames in windows of four that share one, for a network."""

    def of(network: ImageDenoiser) -> KeyframeDenoiser:
        masks = FrameMasks(LayerMask(random(1, 7, 16, 32) > -1), LayerMask(random(2, 7, 16, 32) > 1))
        conditions = [image_condition(network.unet, 7, 0.8, seed) for seed in (10, 20, 30)]
        layers = KeyframeLayers(image_family.LAYERS.attention, image_family.LAYERS.conv)
        return KeyframeDenoiser(
            network,
            layers,
            random(3, STEPS, 7, network.unet.config.in_channels, *PICTURE),
            Branches(*conditions),
            masks,
            Windows.over(7, 4, 1),
            KeyframeInjection(0.9, 0.7, 0.5, False) if injected else None,
            shared="background" if extended else None,
            unconditional_every=every,
            cache_interval=interval,
            max_batch=max_batch,
        )

    return of


def predictions(denoiser: KeyframeDenoiser, x: Tensor, step: int) -> Prediction:
    with torch.no_grad():
        return denoiser(x, 300, step)


@pytest.mark.parametrize(
    ("extended", "injected", "max_batch", "step"),
    [
        *((True, True, 0, step) for step in (0, 6, 8, 9)),  # with fewer and fewer injected
        *((False, True, 12, step) for step in (0, 8)),
        (True, False, 12, 0),
        (False, False, 6, 0),
    ],
)
def test_keyframes(
    image_networks: tuple[ImageDenoiser, FastImageDenoiser],
    extended: bool,
    injected: bool,
    max_batch: int,
    step: int,
) -> None:
    x = random(4, 7, image_networks[0].unet.config.in_channels, *PICTURE)[list(Windows.over(7, 4, 1).rows)]
    made = keyframe_denoiser(extended, injected, max_batch)
    expected, found = (predictions(made(network), x, step) for network in image_networks)
    assert_same(found.conditional, expected.conditional)
    assert_same(found.unconditional, expected.unconditional)


def test_keyframes_whose_unconditional_branch_is_sparse(
    image_networks: tuple[ImageDenoiser, FastImageDenoiser],
) -> None:
    rows = list(Windows.over(7, 4, 1).rows)
    made = keyframe_denoiser(True, True, 12, every=2)
    plain, fast = (made(network) for network in image_networks)
    for step in (0, 1):
        x = random(step, 7, image_networks[0].unet.config.in_channels, *PICTURE)[rows]
        expected, found = (predictions(denoiser, x, step) for denoiser in (plain, fast))
        assert_same(found.conditional, expected.conditional)
        assert_same(found.unconditional, expected.unconditional)


class DeepOf:
    """Gives the last up block of a plain network what it was given in another call, or remembers what it is given."""

    def __init__(self, unet: torch.nn.Module) -> None:
        self._block, self._kept = unet.up_blocks[-1], torch.empty(0)

    @contextmanager
    def given(self, again: bool) -> Iterator[None]:
        def hook(module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
            if again:
                return args, {**kwargs, "hidden_states": self._kept}
            self._kept = kwargs["hidden_states"].clone()
            return None

        handle = self._block.register_forward_pre_hook(hook, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()


@pytest.mark.parametrize(("extended", "injected"), [(True, True), (False, True), (True, False)])
def test_deep_features_are_those_of_the_step_before(
    image_networks: tuple[ImageDenoiser, FastImageDenoiser], extended: bool, injected: bool
) -> None:
    """As a plain network has them whose last up block is given what it was given the step before."""
    rows = list(Windows.over(7, 4, 1).rows)
    plain = keyframe_denoiser(extended, injected, 0)(image_networks[0])
    fast = keyframe_denoiser(extended, injected, 0, interval=2)(image_networks[1])
    deep = DeepOf(image_networks[0].unet)
    # what is injected changes behind step 4 and behind step 6, and with it what the rows are
    for step, again in ((4, False), (5, not injected), (6, injected), (8, not injected)):
        x = random(step, 7, image_networks[0].unet.config.in_channels, *PICTURE)[rows]
        with deep.given(again):
            expected = predictions(plain, x, step)
        found = predictions(fast, x, step)
        assert_same(found.conditional, expected.conditional)
        assert_same(found.unconditional, expected.unconditional)
        if again:
            assert not torch.allclose(
                predictions(plain, x, step).conditional, expected.conditional, atol=1e-3
            )


@torch.no_grad()
def test_rows_in_chunks_are_the_rows_at_once(image_networks: tuple[ImageDenoiser, FastImageDenoiser]) -> None:
    plain, fast = image_networks
    x = random(4, 5, plain.unet.config.in_channels, *PICTURE)
    condition = image_condition(plain.unet, 5, 0.8)
    expected = plain(x, 300, condition)
    for size in (0, 2, 5):
        assert_same(fast.in_chunks(x, 300, condition, size), expected)


def test_weights_go_with_their_last_user(image_networks: tuple[ImageDenoiser, FastImageDenoiser]) -> None:
    """Decoding needs the room, and no collector of garbage comes before it."""
    plain, _ = image_networks
    network = FastImageNetwork(plain.unet, plain.controlnet, 0.8)
    fast, gone = FastImageDenoiser(plain.unet, plain.controlnet, torch.float32, network), weakref.ref(network)
    x = random(4, 8, plain.unet.config.in_channels, *PICTURE)
    fast(x, 300, image_condition(plain.unet, 8, 0.8))
    predictions(keyframe_denoiser(True, True, 0)(fast), x, 0)
    gc.disable()
    try:
        del network, fast
        assert gone() is None
    finally:
        gc.enable()
