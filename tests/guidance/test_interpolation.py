"""Interpolation as public functions: what each value and switch changes, on a small random network."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
import torch

from i2v3d.config.interpolate import FusionConfig
from i2v3d.diffusion.edm import EDMSchedule
from i2v3d.errors import LayerError, ShapeError
from i2v3d.guidance.interpolation import (
    ClipInversion,
    ClipNoise,
    EndPicture,
    FusionOptions,
    InterpolationGuidance,
    Solver,
    interpolate,
    invert_clip,
    source_latents,
)
from i2v3d.guidance.passes import ClipInjection
from i2v3d.models.layout import EDM_SCHEDULER
from i2v3d.models.svd import PictureCondition
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

FRAMES, HEIGHT, WIDTH, STEPS = 3, 4, 6, 2
GUIDANCE = InterpolationGuidance(
    scale=1.5,
    interp_strength=1.0,
    fusion=FusionOptions("blend", "linear", 2.0, False, False, 0, 0.8, 0.0, False),
    injection=ClipInjection(LAYERS.attention, LAYERS.block, 1.0, 1.0),
    compat_unflipped_masks=False,
    compat_scaled_source=False,
    solver="euler",
    unconditional_every=1,
)


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Segment:
    """A small segment, its inversion and its end pictures; its depth has no effect if `control_scale` is 0."""

    def __init__(self, steps: int = STEPS, control_scale: float = 0.0) -> None:
        self.schedule = EDMSchedule.from_config(EDM_SCHEDULER, steps)
        self.network = ClipDenoiser(seeded(tiny_unet), seeded(tiny_controlnet), control_scale)
        with torch.no_grad():
            self.control = self.network.control(random(1, FRAMES, 3, HEIGHT * FACTOR, WIDTH * FACTOR))
        self.clean = random(2, FRAMES, CHANNELS, HEIGHT, WIDTH)
        self.visible = torch.ones(FRAMES, HEIGHT * FACTOR, WIDTH * FACTOR, dtype=torch.bool)
        self.visible[0, :, : WIDTH * FACTOR // 2] = False  # what is visible changes in time
        self.inversion = self.inverted(unflipped_depth=False)
        self.ends = [
            EndPicture(self.condition(seed), random(seed + 2, CHANNELS, HEIGHT, WIDTH)) for seed in (30, 40)
        ]

    def condition(self, seed: int) -> ClipCondition:
        picture = PictureCondition(random(seed, 1, EMBED_WIDTH), random(seed + 1, CHANNELS, HEIGHT, WIDTH))
        return self.network.condition(picture, torch.tensor([29.0, 127.0, 0.02]), self.control)

    def inverted(
        self, *, unflipped_depth: bool, max_batch: int = 0, solver: Solver = "euler"
    ) -> ClipInversion[ClipCondition]:
        return invert_clip(
            self.network,
            self.schedule,
            self.clean,
            self.condition(10),
            self.condition(20),
            solver=solver,
            compat_unflipped_depth=unflipped_depth,
            max_batch=max_batch,
        )

    def frames(self, ends: int = 2, seed: int = 0, **changes: Any) -> torch.Tensor:
        """The latents of GUIDANCE with some values changed."""
        shape = (CHANNELS, HEIGHT, WIDTH)
        return interpolate(
            self.network,
            self.schedule,
            self.inversion,
            self.visible,
            self.ends[:ends],
            ClipNoise.seeded(list(range(1, FRAMES + 1)), shape, seed, "cpu"),
            replace(GUIDANCE, **changes),
            max_batch=0,
        )


@pytest.fixture(scope="module")
def segment() -> Segment:
    return Segment()


@pytest.fixture(scope="module")
def usual(segment: Segment) -> torch.Tensor:
    return segment.frames()


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": 1.0},
        {"interp_strength": 0.4},
        {"injection": None},
        {"compat_unflipped_masks": True},
        {"compat_scaled_source": True},
        {"unconditional_every": 2},
        {"fusion": replace(GUIDANCE.fusion, renoise=1)},
        {"fusion": replace(GUIDANCE.fusion, method="sequential")},
        {"fusion": replace(GUIDANCE.fusion, replace_ends=True)},
        {"ends": 1},
        {"seed": 1},
    ],
    ids=str,
)
def test_every_value_changes_the_clip(segment: Segment, usual: torch.Tensor, changes: dict[str, Any]) -> None:
    assert not torch.allclose(segment.frames(**changes), usual, atol=1e-4)


def test_second_order_changes_the_clip() -> None:
    """The first step and the last are of first order."""
    segment = Segment(3)
    assert not torch.allclose(segment.frames(solver="dpmpp_2m"), segment.frames(), atol=1e-4)


def test_the_network_is_left_as_it_was(segment: Segment, usual: torch.Tensor) -> None:
    assert torch.equal(segment.frames(), usual)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in segment.network.unet.modules())


@pytest.mark.slow
def test_noise_is_read_only_where_nothing_is_visible(segment: Segment) -> None:
    everywhere = Segment()
    everywhere.visible = torch.ones_like(segment.visible)
    assert torch.equal(everywhere.frames(seed=0), everywhere.frames(seed=1))


def test_unflipped_depth_changes_the_reversed_inversion_only() -> None:
    segment = Segment(control_scale=1.0)
    compat = segment.inverted(unflipped_depth=True)
    torch.testing.assert_close(compat.forward, segment.inversion.forward)
    assert not torch.allclose(compat.reversed, segment.inversion.reversed, atol=1e-3)


def test_the_inversion_of_second_order_is_another_one_beyond_its_first_step(segment: Segment) -> None:
    found = segment.inverted(unflipped_depth=False, solver="dpmpp_2m")
    torch.testing.assert_close(found.forward[:2], segment.inversion.forward[:2])
    assert not torch.allclose(found.forward[2], segment.inversion.forward[2], atol=1e-3)


def test_second_order_is_for_plain_blends(segment: Segment) -> None:
    with pytest.raises(AssertionError, match="take a step more than once"):
        segment.frames(solver="dpmpp_2m", fusion=replace(GUIDANCE.fusion, renoise=1))


@pytest.mark.parametrize("other", [{}, {"method": "sequential"}, {"renoise": 1}, {"cfg_plus_plus": True}])
def test_options_allow_second_order_where_guidance_does(other: dict[str, Any]) -> None:
    options = replace(GUIDANCE.fusion, **other)
    assert FusionConfig(**asdict(options)).steps_once == options.steps_once == (not other)


def test_the_inversion_does_not_depend_on_the_batch_size(segment: Segment) -> None:
    single = segment.inverted(unflipped_depth=False, max_batch=1)
    for found, expected in (
        (single.forward, segment.inversion.forward),
        (single.reversed, segment.inversion.reversed),
    ):
        assert float((found - expected).norm() / expected.norm()) < 3e-5


def test_the_source_is_what_each_step_starts_from_scaled_twice_if_asked() -> None:
    trajectory = torch.arange(1.0, 5.0).reshape(4, 1, 1, 1, 1)
    plain = source_latents(trajectory, 700.0, compat_scaled_source=False)
    assert plain.flatten().tolist() == [4, 3, 2]
    scaled = source_latents(trajectory, 700.0, compat_scaled_source=True)
    assert scaled.flatten().tolist() == pytest.approx([4 / (1 + 700.0**2) ** 0.5, 3, 2])
    assert trajectory.flatten().tolist() == [1, 2, 3, 4]


def test_an_inversion_of_other_steps_is_refused(segment: Segment) -> None:
    other = EDMSchedule.from_config(EDM_SCHEDULER, STEPS + 1)
    noise = ClipNoise.seeded(list(range(1, FRAMES + 1)), (CHANNELS, HEIGHT, WIDTH), 0, "cpu")
    with pytest.raises(ShapeError, match="the inversion has 3 noise levels; expected 4"):
        interpolate(
            segment.network,
            other,
            segment.inversion,
            segment.visible,
            segment.ends,
            noise,
            GUIDANCE,
            max_batch=0,
        )


def test_a_layer_that_does_not_exist_is_refused(segment: Segment) -> None:
    with pytest.raises(LayerError, match="matches no module"):
        segment.frames(injection=ClipInjection(("nope",), LAYERS.block, 1.0, 1.0))
