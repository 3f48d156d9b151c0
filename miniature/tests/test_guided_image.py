"""The image model as the method uses it: the same numbers as guidance's own hooks, and what a training writes."""

from __future__ import annotations

import torch

from i2v3d.diffusion.ddim import DDIM
from i2v3d.guidance.cross_frame import CrossFramePlan, extend_attention
from i2v3d.guidance.injection import FeatureCopy, InjectionPlan, inject, resolve_layers
from i2v3d.guidance.masks import LayerMask
from i2v3d.models.layout import DDIM_SCHEDULER
from i2v3d.toy import architectures
from miniature.guided_shots import behind, noise_of
from miniature.steering import ATTENTION, CONV, Steered, Steering

SHOTS, FRAMES = 2, 3


def _inputs(rows: int) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(rows, architectures.LATENT_CHANNELS, 8, 12, generator=draw)
    text = torch.randn(rows, 5, 2 * architectures.TEXT_WIDTH, generator=draw)
    added = {"text_embeds": torch.randn(rows, 64, generator=draw), "time_ids": torch.ones(rows, 6)}
    return x, text, added


def _foreground() -> torch.Tensor:
    shown = torch.zeros(SHOTS, FRAMES, 64, 96, dtype=torch.bool)
    for shot in range(SHOTS):
        for frame in range(FRAMES):
            shown[shot, frame, 10 + 9 * shot : 50, 20 + 7 * frame : 60 + 7 * frame] = True
    return shown


def _flags(*values: bool) -> torch.Tensor:
    return torch.tensor(values)


@torch.no_grad()
def test_many_shots_at_once_are_steered_as_guidance_steers_each() -> None:
    torch.manual_seed(0)
    unet, own, shown = architectures.image_unet().eval(), SHOTS * FRAMES, _foreground()
    x, text, added = _inputs(2 * own + 2)

    def run(rows: torch.Tensor) -> torch.Tensor:
        some = {name: value[rows] for name, value in added.items()}
        result: torch.Tensor = unet(
            x[rows], 500, encoder_hidden_states=text[rows], added_cond_kwargs=some, return_dict=False
        )[0]
        return result

    everything = torch.arange(2 * own + 2)
    plain = run(everything)
    # The first shot gets everything everywhere; the second attention on the object, no convolutions, and shares all.
    yes, mixed = _flags(True, True), _flags(True, False)
    with Steering(unet) as steering:
        steering.now = Steered(shown, yes, mixed, mixed, yes, ~mixed)
        steered = run(everything)
        steering.now = None
        assert torch.equal(run(everything), plain), "without steering nothing changes"
    assert torch.equal(run(everything), plain), "nothing is left behind"
    torch.testing.assert_close(steered[: own + 2], plain[: own + 2], atol=1e-5, rtol=0)
    for shot in range(SHOTS):
        masks = LayerMask(shown[shot])
        everywhere = LayerMask(torch.ones_like(shown[shot])) if shot == 0 else masks
        copies = [FeatureCopy("query_key", resolve_layers(unet, ATTENTION), everywhere)]
        if shot == 0:
            copies.append(FeatureCopy("output", resolve_layers(unet, CONV), masks))
        alone = masks if shot == 0 else LayerMask(torch.zeros_like(shown[shot]))
        plan = CrossFramePlan(alone, [FRAMES], branches=2, plain=1)
        source = torch.arange(shot * FRAMES, (shot + 1) * FRAMES)
        with (
            inject(unet, InjectionPlan(tuple(copies), branches=2)),
            extend_attention(unet, resolve_layers(unet, ATTENTION), plan),
        ):
            expected = run(torch.cat([source, source + own + 2]))[FRAMES:]
        found = steered[own + 2 :].unflatten(0, (SHOTS, FRAMES))[shot]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        assert (found - plain[own + 2 :].unflatten(0, (SHOTS, FRAMES))[shot]).abs().max() > 1e-2


def test_a_straight_path_has_its_ends_where_they_belong() -> None:
    ddim, draw = DDIM.from_config(DDIM_SCHEDULER, 5), torch.Generator().manual_seed(2)
    coarse, noise = (torch.randn(2, 3, 4, 2, 2, generator=draw) for _ in range(2))
    clean = behind(coarse, noise, ddim)

    def at(level: int) -> torch.Tensor:
        alpha = ddim.alpha_bar[level]
        return alpha**0.5 * clean + (1 - alpha) ** 0.5 * noise

    torch.testing.assert_close(at(0), coarse)
    torch.testing.assert_close(noise_of(at(ddim.steps), coarse, ddim), noise, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ddim.invert(coarse, lambda x, t, step: noise)[-1], at(ddim.steps))
