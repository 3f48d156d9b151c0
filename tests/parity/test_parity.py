"""The same numbers as the released code, on tiny random networks: the truth that everything else leans on.

README.md in this folder tells where the numbers come from. With the compat switches on, all that the method
computes between clean coarse latents and clean results agrees within 2e-5 of the norm. Of keyframes, whose attention
takes a minute of CPU time for five steps, the network is asked at the steps that differ in what they do.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from i2v3d.diffusion.ddim import DDIM
from i2v3d.diffusion.denoiser import Prediction
from i2v3d.diffusion.edm import EDMSchedule
from i2v3d.guidance.branches import Branches
from i2v3d.guidance.interpolation import (
    ClipInversion,
    ClipNoise,
    EndPicture,
    FusionOptions,
    InterpolationGuidance,
    interpolate,
    invert_clip,
)
from i2v3d.guidance.keyframe_denoiser import KeyframeDenoiser, KeyframeInjection, KeyframeLayers
from i2v3d.guidance.keyframes import KeyframeGuidance, guide_keyframes
from i2v3d.guidance.masks import FrameMasks, LayerMask, nearest_resize
from i2v3d.guidance.passes import ClipInjection
from i2v3d.models.sdxl import ImageCondition, PromptEmbedding, micro_conditioning
from i2v3d.models.svd import PictureCondition
from i2v3d.models.svd_denoiser import ClipCondition, ClipDenoiser
from i2v3d.progress import OnStep, ignore_step
from tests.parity.rebuilt import (
    CONFIGS,
    Keyframes,
    clip_inputs,
    image_network,
    keyframe_inputs,
    recorded,
    video_network,
)

pytestmark = pytest.mark.slow  # the recording's image is large, and so is what it takes

LIMIT = 2e-5  # of the norm
STEPS = 5
SAMPLED = (
    ...,
    slice(None, None, 4),
    slice(None, None, 4),
)  # the latents that the recording kept where it did not keep all
ASKED = KeyframeDenoiser.__call__


def distance(found: Tensor, expected: Tensor) -> float:
    """Of two tensors, as a fraction of the expected one's norm."""
    assert found.shape == expected.shape
    return float((found - expected).norm() / expected.norm())


# ---------------------------------------------------------------- keyframes
def leading(ddim: DDIM, x: Tensor, level: int, target: int, place: Tensor) -> Tensor:
    """The noise along which `ddim` moves x from a level to the latents `place` of the level `target`."""
    nothing = torch.zeros_like(x)
    stays, moves = ddim.move(x, nothing, level, target), ddim.move(nothing, nothing + 1, level, target)
    return (place - stays) / moves


class KeyframeRun:
    """Inversion and sampling of the recorded keyframes; between steps that ask the network they take recorded latents.

    The inversion asks for its levels 1 to 3 and 5, this from the recorded level 4. Sampling asks at its steps 3, which
    injects everything, and 5, without the convolutions, each from what was recorded before it.
    """

    LEVELS, SAMPLED_STEPS = (1, 2, 3, 5), (3, 5)

    def __init__(self) -> None:
        self.network, embedding = image_network()
        self.numbers = recorded("keyframes")
        self.inputs: Keyframes = keyframe_inputs()
        self.ddim = DDIM.from_config(CONFIGS["sdxl"]["sched"], STEPS)
        with torch.no_grad():
            self.control = embedding(self.inputs.depth[:, None].expand(-1, 3, -1, -1))
        self.empty = self.condition(self.inputs.empty)
        with torch.no_grad():
            self.source = torch.stack(self.ddim.invert(self.inputs.clean, self.inverted))
        self.starts: list[Tensor] = []  # what each sampling began with

    def condition(self, prompt: PromptEmbedding) -> ImageCondition:
        rows = prompt.repeat(0, 3)
        ids = micro_conditioning((576, 1024), (0, 0), (576, 1024)).expand(3, -1)
        return ImageCondition(rows.text, rows.pooled, ids, self.control, 1.0)

    def inverted(self, x: Tensor, level: float, step: int) -> Tensor:
        """The noise along which the inversion moves: a `Predict`."""
        if step + 1 in self.LEVELS:
            return self.network(x, level, self.empty)
        return leading(self.ddim, x, step, step + 1, self.numbers["inverted_4"])

    def sampled(self, denoiser: KeyframeDenoiser, x: Tensor, level: float, step: int) -> Prediction:
        """The noise along which sampling moves, in place of `KeyframeDenoiser.__call__`."""
        if step == 0:
            self.starts.append(x)
        if step + 1 in self.SAMPLED_STEPS:
            return ASKED(denoiser, x, level, step)
        place = self.numbers["after_2" if step < 2 else "after_4"]
        noise = leading(self.ddim, x, STEPS - step, STEPS - step - 1, place)
        return Prediction(noise, noise)

    def sample(self) -> list[Tensor]:
        numbers = self.numbers
        masks = FrameMasks(LayerMask(numbers["visible"]), LayerMask(numbers["foreground"]))
        hidden = ~masks.visible.at(72, 128)[:, None].expand_as(self.inputs.clean)
        noise = torch.zeros_like(self.inputs.clean).masked_scatter(hidden, numbers["start_noise"])
        layers = KeyframeLayers(
            ("up_blocks.[01].attentions.*.transformer_blocks.*.attn1",), ("up_blocks.[012].resnets.*.conv2",)
        )
        branches = Branches(
            self.empty, *(self.condition(p) for p in (self.inputs.negative, self.inputs.positive))
        )
        guidance = KeyframeGuidance(
            7.5,
            KeyframeInjection(1.0, 0.8, 0.6, True),
            True,
            shared="background",
            window=4,
            overlap=1,
            solver="ddim",
            unconditional_every=1,
            cache_interval=1,
            strength=1.0,
        )
        return guide_keyframes(
            self.network, layers, self.ddim, self.source, branches, masks, noise, guidance, max_batch=0
        )


@pytest.fixture(scope="module")
def keyframes() -> KeyframeRun:
    return KeyframeRun()


def test_the_inversion_of_keyframes_is_the_released_one(keyframes: KeyframeRun) -> None:
    numbers = keyframes.numbers
    assert keyframes.ddim.timesteps == tuple(numbers["timesteps"].tolist())
    for level, expected in zip(keyframes.LEVELS, numbers["inverted"], strict=True):
        assert distance(keyframes.source[level - 1][SAMPLED], expected) < LIMIT


def test_keyframes_are_the_released_ones(keyframes: KeyframeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeyframeDenoiser, "__call__", lambda *asked: keyframes.sampled(*asked))
    trajectory = keyframes.sample()
    (start,) = keyframes.starts
    assert distance(start[SAMPLED], keyframes.numbers["start"]) < LIMIT
    assert distance(trajectory[2][SAMPLED], keyframes.numbers["after_3"]) < LIMIT
    assert distance(trajectory[4], keyframes.numbers["keyframes"]) < LIMIT


# ---------------------------------------------------------------- interpolation
class ClipRun:
    """Inversion and interpolation of the recorded segment."""

    def __init__(self) -> None:
        self.numbers = recorded("interpolation")
        self.network: ClipDenoiser = video_network()
        self.schedule = EDMSchedule.from_config(CONFIGS["svd"]["sched"], STEPS)
        self.clean, depth = clip_inputs()
        with torch.no_grad():
            self.control = self.network.control(depth)

    def condition(self, name: str) -> ClipCondition:
        picture = PictureCondition(self.numbers[f"{name}_embedding"], self.numbers[f"{name}_latents"])
        return self.network.condition(picture, self.numbers["time_ids"], self.control)

    def invert(self, *, unflipped_depth: bool) -> ClipInversion[ClipCondition]:
        return invert_clip(
            self.network,
            self.schedule,
            self.clean,
            self.condition("first"),
            self.condition("last"),
            solver="euler",
            compat_unflipped_depth=unflipped_depth,
            max_batch=0,
        )

    def interpolate(
        self,
        inversion: ClipInversion[ClipCondition],
        *,
        unflipped_masks: bool,
        scaled_source: bool,
        on_step: OnStep = ignore_step,
    ) -> Tensor:
        start = self.numbers["start"] / self.schedule.start_sigma  # what is visible is not read
        options = FusionOptions("blend", "linear", 1.0, False, False, 0, 0.0, 0.0, False)
        attention = (
            "up_blocks.1.attentions.[12].transformer_blocks.*.attn1",
            "up_blocks.[23].attentions.[012].transformer_blocks.*.attn1",
        )
        injection = ClipInjection(attention, ("up_blocks.1.resnets.1",), 1.0, 1.0)
        ends = [
            EndPicture(self.condition(f"{end}_keyframe"), self.numbers[f"{end}_keyframe_latents"])
            for end in ("first", "last")
        ]
        guidance = InterpolationGuidance(
            1.5, 1.0, options, injection, unflipped_masks, scaled_source, "euler", 1
        )
        noise = ClipNoise(start, again=lambda step, repetition: start)
        return interpolate(
            self.network,
            self.schedule,
            inversion,
            self.numbers["visible"],
            ends,
            noise,
            guidance,
            max_batch=0,
            on_step=on_step,
        )

    def first_predictions(self, inversion: ClipInversion[ClipCondition], **switches: bool) -> Tensor:
        """What the network predicts at the first step, for all passes and branches."""
        found: list[Tensor] = []

        def stop(done: int, total: int) -> None:
            raise FirstStepDone

        hook = self.network.unet.conv_out.register_forward_hook(lambda _, __, output: found.append(output))
        try:
            with pytest.raises(FirstStepDone):
                self.interpolate(inversion, on_step=stop, **switches)
        finally:
            hook.remove()
        return torch.cat(found)


class FirstStepDone(Exception):
    """Ends an interpolation after its first step."""


@pytest.fixture(scope="module")
def clip() -> ClipRun:
    return ClipRun()


@pytest.fixture(scope="module")
def inversion(clip: ClipRun) -> ClipInversion[ClipCondition]:
    return clip.invert(unflipped_depth=True)


def test_both_inversions_of_a_clip_are_the_released_ones(
    clip: ClipRun, inversion: ClipInversion[ClipCondition]
) -> None:
    # The released code divides the highest level by the spread of its noise.
    scale = torch.ones(STEPS + 1)
    scale[-1] = (1 + clip.schedule.sigma_max**2) ** -0.5
    for direction in ("forward", "reversed"):
        levels = getattr(inversion, direction) * scale.reshape(-1, 1, 1, 1, 1)
        for found, expected in zip(levels, clip.numbers[f"inverted_{direction}"], strict=True):
            assert distance(found, expected) < LIMIT


def test_the_start_of_a_segment_is_the_released_one(
    clip: ClipRun, inversion: ClipInversion[ClipCondition]
) -> None:
    """So that no noise was read where a surface is visible."""
    visible = nearest_resize(clip.numbers["visible"], 16, 24)[:, None].expand_as(clip.clean)
    start = inversion.forward[-1] / (1 + clip.schedule.sigma_max**2) ** 0.5 * clip.schedule.start_sigma
    assert distance(start[visible], clip.numbers["start"][visible]) < LIMIT


def test_an_interpolated_segment_is_the_released_one(
    clip: ClipRun, inversion: ClipInversion[ClipCondition]
) -> None:
    found = clip.interpolate(inversion, unflipped_masks=True, scaled_source=True)
    assert distance(found, clip.numbers["out"]) < LIMIT


def test_without_its_switch_the_reversed_inversion_is_another(clip: ClipRun) -> None:
    found = clip.invert(unflipped_depth=False)
    assert distance(found.reversed[2], clip.numbers["inverted_reversed"][2]) > LIMIT
    assert distance(found.forward[2], clip.numbers["inverted_forward"][2]) < LIMIT


@pytest.fixture(scope="module")
def released(clip: ClipRun, inversion: ClipInversion[ClipCondition]) -> Tensor:
    """The predictions of the first step with all switches on."""
    return clip.first_predictions(inversion, unflipped_masks=True, scaled_source=True)


@pytest.mark.parametrize("switch", ["unflipped_masks", "scaled_source"])
def test_without_its_switch_the_first_step_is_another(
    clip: ClipRun, inversion: ClipInversion[ClipCondition], released: Tensor, switch: str
) -> None:
    on = {"unflipped_masks": True, "scaled_source": True, switch: False}
    assert distance(clip.first_predictions(inversion, **on), released) > LIMIT
