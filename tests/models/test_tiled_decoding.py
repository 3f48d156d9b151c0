"""Wan's decoder tile by tile makes the frames that it makes of whole pictures, with less memory."""

from __future__ import annotations

import pytest
import torch

from i2v3d.models.tiled_decoding import decode_in_tiles, reach, tileable
from tests.support.vace_family import CHANNELS, tiny_vae

SIZE = (22, 26)


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(3)
    return tiny_vae().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def latents() -> torch.Tensor:
    return torch.randn(CHANNELS, 2, *SIZE, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def whole(vae, latents: torch.Tensor) -> torch.Tensor:
    decoded: torch.Tensor = vae.decode(latents[None]).sample[0].transpose(0, 1)
    return decoded


@pytest.mark.slow
def test_tiles_are_the_whole_picture_in_parts(vae, latents: torch.Tensor, whole: torch.Tensor) -> None:
    assert tileable(vae)
    torch.testing.assert_close(decode_in_tiles(vae, latents, (2, 3)), whole, atol=2e-5, rtol=0)


@pytest.mark.slow
def test_the_margin_is_not_too_narrow_and_hardly_too_wide(
    vae, latents: torch.Tensor, whole: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("i2v3d.models.tiled_decoding.reach", lambda decoder: 1)
    assert float((decode_in_tiles(vae, latents, (2, 2)) - whole).abs().max()) > 1e-4
    assert reach(vae.decoder) < 10
