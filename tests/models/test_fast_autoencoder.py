"""Fast encoders and decoders compute what those of diffusers compute, and leave their weights as they were."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from i2v3d.models.fast.autoencoder import FastDecoder, FastEncoder, quicken
from tests.models.test_fast_networks import assert_same, random, shaken
from tests.support import image_family, video_family

FAMILIES = {"image": image_family.tiny_vae, "video": lambda: video_family.seeded(video_family.tiny_vae)}


def decoded(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    clips = {} if "Temporal" not in type(vae).__name__ else {"num_frames": 3}
    pictures: torch.Tensor = vae.decode(latents, **clips).sample
    return pictures


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_latents_and_pictures_are_those_of_the_autoencoder(family: str) -> None:
    vae = shaken(FAMILIES[family]())
    pictures, latents = random(1, 6, 3, 24, 32), random(2, 6, vae.config.latent_channels, 6, 8)
    expected = vae.encode(pictures).latent_dist.mode(), decoded(vae, latents)
    weights = {name: value.clone() for name, value in vae.state_dict().items()}
    quicken(vae)
    assert isinstance(vae.encoder, FastEncoder)
    assert isinstance(vae.decoder, FastDecoder)
    assert_same(vae.encode(pictures).latent_dist.mode(), expected[0])
    assert_same(decoded(vae, latents), expected[1])
    for name, value in vae.state_dict().items():
        assert torch.equal(value, weights[name.replace("coder.net.", "coder.")]), name


def test_a_decoder_that_somebody_takes_apart_stays() -> None:
    vae = video_family.tiny_vae()
    quicken(vae, decoder=False)
    quicken(vae, decoder=False)  # a second time changes nothing
    assert isinstance(vae.encoder, FastEncoder)
    assert not isinstance(vae.encoder.net, FastEncoder)
    assert not isinstance(vae.decoder, FastDecoder)
