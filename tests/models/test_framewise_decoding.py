"""The temporal decoder frame by frame is the decoder."""

from __future__ import annotations

import torch

from i2v3d.models.framewise_decoding import decode_framewise
from tests.models.test_fast_networks import assert_same, random, shaken
from tests.support.video_family import CHANNELS, seeded, tiny_vae


@torch.no_grad()
def test_frames_are_those_of_the_decoder() -> None:
    vae, latents = shaken(seeded(tiny_vae)), random(1, 4, CHANNELS, 6, 8)
    expected = vae.decode(latents, num_frames=4).sample
    assert_same(decode_framewise(vae, latents), expected)
    assert float((decode_framewise(vae, latents[:2]) - expected[:2]).abs().max()) > 1e-3  # frames are mixed
