"""Loading the video models, their picture conditions and their VAE, on a tiny random family."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from i2v3d.config.models import VideoModelConfig
from i2v3d.errors import ShapeError, WeightsError
from i2v3d.models.svd import (
    VideoModels,
    added_time_ids,
    conditioning_latents,
    decode_frames,
    embed_image,
    encode_frames,
    load_video_models,
    resize_antialiased,
)
from i2v3d.models.temporal_controlnet import TemporalControlNet
from tests.support.networks import loaded_once
from tests.support.video_family import (
    CHANNELS,
    EMBED_WIDTH,
    FACTOR,
    NETWORK,
    VISION_SIDE,
    seeded,
    tiny_vae,
    write_tiny_video_family,
)


@pytest.fixture(scope="module", autouse=True)
def _loaded_once() -> Iterator[None]:
    with loaded_once():
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> VideoModelConfig:
    return write_tiny_video_family(tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="module")
def models(config: VideoModelConfig) -> VideoModels:
    return load_video_models(config, "cpu", ("vae", "image_encoder"))


def frames(count: int = 5, height: int = 16, width: int = 24) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_only_the_parts_asked_for_are_loaded_and_their_sizes_come_from_their_configs(
    models: VideoModels,
) -> None:
    assert models.unet is None
    assert models.controlnet is None
    assert (models.channels, models.factor) == (CHANNELS, FACTOR)
    assert models.vae.dtype == torch.float32
    assert models.scheduler["prediction_type"] == "v_prediction"


def test_networks_run_in_the_configured_precision_and_the_vae_in_float32(config: VideoModelConfig) -> None:
    half = load_video_models(
        dataclasses.replace(config, dtype="bfloat16"), "cpu", ("unet", "controlnet", "vae")
    )
    assert half.unet.dtype == half.controlnet.dtype == torch.bfloat16
    assert half.vae.dtype == torch.float32
    assert not any(p.requires_grad for p in half.unet.parameters())


def test_latents_are_the_scaled_mode_whatever_the_chunks(models: VideoModels) -> None:
    pictures = frames()
    latents = encode_frames(models, pictures)
    assert latents.shape == (5, CHANNELS, 16 // FACTOR, 24 // FACTOR)
    with torch.no_grad():
        expected = models.vae.encode(pictures).latent_dist.mode() * 0.5
    torch.testing.assert_close(latents, expected)


def test_conditioning_latents_are_not_scaled_and_take_their_noise_from_outside(models: VideoModels) -> None:
    picture = frames(1)[0]
    noise = torch.ones_like(picture)
    plain = conditioning_latents(models, picture, noise, noise_aug=0.0)
    torch.testing.assert_close(plain, encode_frames(models, picture[None])[0] / 0.5)
    noisy = conditioning_latents(models, picture, noise, noise_aug=0.1)
    torch.testing.assert_close(noisy, conditioning_latents(models, picture + 0.1, noise, noise_aug=0.0))
    assert not torch.allclose(noisy, plain)


def test_decoding_sees_the_configured_number_of_frames_at_once(models: VideoModels) -> None:
    latents = encode_frames(models, frames())
    decoded = decode_frames(models, latents)
    assert decoded.shape == (5, 3, 16, 24)
    assert decoded.dtype == torch.uint8
    parts = [decode_frames(models, part) for part in (latents[:3], latents[3:])]
    assert torch.equal(decoded, torch.cat(parts))
    with torch.no_grad():
        alone = models.vae.decode(latents[:3] / 0.5, num_frames=3).sample
    expected = ((alone + 1) * 127.5).round().clamp(0, 255)
    assert (decoded[:3].float() - expected).abs().max() <= 1


def test_frames_that_are_no_whole_number_of_latents_are_refused(models: VideoModels) -> None:
    with pytest.raises(ShapeError, match=r"26x16; .* multiples of 4, such as 28x16"):
        encode_frames(models, frames(width=26))


def test_time_ids_are_what_svd_was_trained_on() -> None:
    torch.testing.assert_close(added_time_ids(30, 127, 0.02), torch.tensor([29.0, 127.0, 0.02]))


def test_embeddings_are_of_the_whole_picture_at_any_aspect_ratio(models: VideoModels) -> None:
    grey = torch.full((3, 16, 24), 0.3)
    embedding = embed_image(models, grey)
    assert embedding.shape == (1, EMBED_WIDTH)
    torch.testing.assert_close(embedding, embed_image(models, torch.full((3, 48, 32), 0.3)))
    marked = frames(1, 48, 72)[0] * 0.1
    marked[:, :8, :8] = 1  # the corner, which a centre crop would miss
    assert (embed_image(models, marked) - embed_image(models, frames(1, 48, 72)[0] * 0.1)).abs().max() > 1e-3


def test_embeddings_normalise_as_the_extractor_says(models: VideoModels) -> None:
    side = VISION_SIDE
    picture = frames(1, side, side)[0]
    statistics = (torch.tensor(v)[:, None, None] for v in (models.pixels.mean, models.pixels.std))
    mean, std = statistics
    with torch.no_grad():
        expected = models.image_encoder(((picture + 1) / 2 - mean)[None] / std).image_embeds
    torch.testing.assert_close(embed_image(models, picture), expected, rtol=1e-3, atol=1e-4)


def test_resize_keeps_constants_corners_and_low_frequencies() -> None:
    constant = torch.full((1, 3, 40, 60), 0.7)
    torch.testing.assert_close(resize_antialiased(constant, 16, 16), torch.full((1, 3, 16, 16), 0.7))
    same = frames(1, 24, 24)
    torch.testing.assert_close(resize_antialiased(same, 24, 24), same)
    columns = torch.linspace(-1, 1, 200).expand(1, 3, 100, 200)
    expected = torch.linspace(-1, 1, 50).expand(1, 3, 25, 50)
    small = resize_antialiased(columns.contiguous(), 25, 50)
    torch.testing.assert_close(small[..., 2:-2], expected[..., 2:-2], atol=2e-3, rtol=0)


def test_resize_removes_what_the_small_picture_cannot_show() -> None:
    stripes = torch.cos(math.pi * torch.arange(256)).expand(1, 3, 64, 256).contiguous()
    small = resize_antialiased(stripes, 16, 64)
    assert small.abs().max() < 0.05


def test_missing_weights_are_named(config: VideoModelConfig, tmp_path: Path) -> None:
    shutil.copytree(config.base.source, tmp_path / "video")
    (tmp_path / "video" / "scheduler" / "scheduler_config.json").unlink()
    base = dataclasses.replace(config.base, source=str(tmp_path / "video"))
    with pytest.raises(WeightsError, match=r"scheduler/scheduler_config\.json"):
        load_video_models(dataclasses.replace(config, base=base), "cpu", ())


def test_networks_that_do_not_fit_together_are_refused(config: VideoModelConfig, tmp_path: Path) -> None:
    def with_controlnet(name: str, **changes: object) -> VideoModelConfig:
        fields = {**NETWORK, "conditioning_embedding_out_channels": (8, 8, 16), **changes}
        seeded(lambda: TemporalControlNet(**fields)).save_pretrained(tmp_path / name)
        reference = dataclasses.replace(config.controlnet, source=str(tmp_path / name))
        return dataclasses.replace(config, controlnet=reference)

    deeper = with_controlnet("deeper", conditioning_embedding_out_channels=(8, 8, 8, 8))
    with pytest.raises(WeightsError, match="scales its condition down by 8, the video VAE by 4"):
        load_video_models(deeper, "cpu", ("controlnet", "vae"))
    other = with_controlnet("other", in_channels=8)
    with pytest.raises(WeightsError, match="has in_channels 8, the video UNet 12"):
        load_video_models(other, "cpu", ("unet", "controlnet"))


def test_a_unet_with_other_time_ids_is_refused(config: VideoModelConfig, tmp_path: Path) -> None:
    from diffusers import UNetSpatioTemporalConditionModel

    shutil.copytree(config.base.source, tmp_path / "video")
    fields = {**NETWORK, "projection_class_embeddings_input_dim": 16}
    seeded(lambda: UNetSpatioTemporalConditionModel(**fields)).save_pretrained(tmp_path / "video" / "unet")
    base = dataclasses.replace(config.base, source=str(tmp_path / "video"))
    with pytest.raises(WeightsError, match="expected 24 for 3 ids"):
        load_video_models(dataclasses.replace(config, base=base), "cpu", ("unet",))


def test_the_tiny_vae_has_the_factor_that_the_tests_assume() -> None:
    assert 2 ** (len(seeded(tiny_vae).config.block_out_channels) - 1) == FACTOR
