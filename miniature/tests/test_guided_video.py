"""The video model as the method uses it: the same numbers as guidance's own hooks, and targets on a straight path."""

from __future__ import annotations

import torch

from i2v3d.diffusion import edm
from i2v3d.guidance.injection import FeatureCopy, InjectionPlan, inject, resolve_layers
from i2v3d.toy import architectures
from miniature.guided_clips import ATTENTION, injecting
from miniature.guided_video import velocity_target

PAIRS, FRAMES = 2, 3


@torch.no_grad()
def test_lit_clips_take_queries_and_keys_of_their_flat_ones_as_guidance_injects_them() -> None:
    torch.manual_seed(0)
    unet, clips = architectures.video_unet().eval(), 2 * PAIRS + 1
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(clips, FRAMES, 2 * architectures.LATENT_CHANNELS, 8, 12, generator=draw)
    embed = torch.randn(clips, 1, architectures.EMBED_WIDTH, generator=draw)

    def run(rows: list[int]) -> torch.Tensor:
        result: torch.Tensor = unet(x[rows], 0.5, embed[rows], torch.ones(len(rows), 3), return_dict=False)[0]
        return result

    everything = list(range(clips))
    plain = run(everything)
    with injecting(unet) as now:
        now["flags"] = torch.tensor([True, False]).repeat_interleave(FRAMES).view(-1, 1, 1)
        steered = run(everything)
    assert torch.equal(run(everything), plain), "nothing is left behind"
    # The first pair is injected; the second one and the clip between them are left alone.
    untouched = [0, 1, 2, 4]
    torch.testing.assert_close(steered[untouched], plain[untouched], atol=1e-5, rtol=0)
    copies = (FeatureCopy("query_key", resolve_layers(unet, ATTENTION), None),)
    with inject(unet, InjectionPlan(copies, branches=2)):
        expected = run([0, 3])[1]
    torch.testing.assert_close(steered[3], expected, atol=1e-5, rtol=0)
    assert (expected - plain[3]).abs().max() > 1e-3


def test_the_target_is_the_velocity_behind_which_the_clean_clip_lies() -> None:
    draw = torch.Generator().manual_seed(2)
    clean, noise = (torch.randn(2, 3, 4, 2, 2, generator=draw) for _ in range(2))
    for sigma in (0.05, 3.0, 200.0):
        target = velocity_target(clean, noise, torch.tensor(sigma))
        found = edm.denoised_from_velocity(target, clean + sigma * noise, sigma)
        torch.testing.assert_close(found, clean, atol=2e-3, rtol=0)
