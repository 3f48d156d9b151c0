"""The SDXL backbone: what it loads and refuses, and that it reads prompts as diffusers' pipeline does."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from i2v3d.config.models import ImageModelConfig, ModelsConfig
from i2v3d.config.sections import build
from i2v3d.config.weights import WeightsRef
from i2v3d.errors import ShapeError, WeightsError
from i2v3d.guidance.injection import resolve_layers
from i2v3d.models import sdxl
from i2v3d.models.manifest import load_manifest
from i2v3d.models.sdxl import ImageCondition, ImageModels
from i2v3d.models.weights import load_network, resolve
from i2v3d.toy.architectures import image_unet, video_unet
from i2v3d.workflow.composition import compose_variants
from tests.support.image_family import CHANNELS, FACTOR, reference, write_lora, write_tiny_family

PARTS = ("unet", "controlnet", "vae", "text")
CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("family")


@pytest.fixture(scope="module")
def config(folder: Path) -> ImageModelConfig:
    return write_tiny_family(folder)


@pytest.fixture(scope="module")
def models(config: ImageModelConfig) -> ImageModels:
    return sdxl.load_image_models(config, "cpu", PARTS)


def condition(models: ImageModels, rows: int, control_scale: float = 1.0) -> ImageCondition:
    prompt = sdxl.encode_prompts(models, ["a red cup"]).repeat(0, rows)
    depth = torch.rand(rows, 32, 48, generator=torch.Generator().manual_seed(1))
    control = sdxl.embed_depth(models, depth, max_batch=2)
    return sdxl.frame_condition(models, prompt, (32, 48), control, control_scale)


def latents(rows: int) -> torch.Tensor:
    return torch.randn(rows, CHANNELS, 8, 12, generator=torch.Generator().manual_seed(2))


def test_sizes_come_from_the_networks(models: ImageModels) -> None:
    assert (models.channels, models.factor, models.size_multiple) == (CHANNELS, FACTOR, 16)


def test_only_the_parts_asked_for_are_loaded(config: ImageModelConfig) -> None:
    some = sdxl.load_image_models(config, "cpu", ("vae",))
    assert some.vae is not None
    assert (some.unet, some.controlnet, some.text) == (None, None, None)


def test_networks_are_frozen_and_in_eval_mode(models: ImageModels) -> None:
    for network in (models.unet, models.controlnet, models.vae, *models.text.encoders):
        assert not network.training
        assert not any(p.requires_grad for p in network.parameters())


def test_precision_is_the_configured_one_but_the_vae_stays_in_float32(config: ImageModelConfig) -> None:
    half = sdxl.load_image_models(dataclasses.replace(config, dtype="bfloat16"), "cpu", PARTS)
    assert half.unet.dtype == half.controlnet.dtype == half.text.encoders[1].dtype == torch.bfloat16
    assert half.vae.dtype == torch.float32
    prediction = sdxl.denoise(half, latents(1), 500, condition(half, 1))
    assert prediction.dtype == torch.float32


def test_prompts_are_encoded_as_the_pipeline_of_diffusers_does(folder: Path, models: ImageModels) -> None:
    from diffusers import StableDiffusionXLPipeline

    pipeline = StableDiffusionXLPipeline(
        vae=models.vae,
        text_encoder=models.text.encoders[0],
        text_encoder_2=models.text.encoders[1],
        tokenizer=models.text.tokenizers[0],
        tokenizer_2=models.text.tokenizers[1],
        unet=models.unet,
        scheduler=None,
        add_watermarker=False,
    )
    text, _, pooled, _ = pipeline.encode_prompt("a red cup", do_classifier_free_guidance=False)
    ours = sdxl.encode_prompts(models, ["a blue house", "a red cup"])
    assert torch.allclose(ours.repeat(1, 1).text, text, atol=1e-6)
    assert torch.allclose(ours.repeat(1, 1).pooled, pooled, atol=1e-6)


def test_a_prompt_that_is_cut_is_said(models: ImageModels, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        sdxl.encode_prompts(models, ["a red cup " * 60])
    assert "cannot read the end of the prompt" in caplog.text


def test_encoding_takes_the_mean_and_scales(models: ImageModels) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)
    encoded = sdxl.encode_images(models, rgb, max_batch=2)
    pixels = torch.from_numpy(rgb).permute(0, 3, 1, 2).float() / 127.5 - 1
    expected = models.vae.encode(pixels).latent_dist.mean * models.vae.config.scaling_factor
    assert encoded.shape == (3, CHANNELS, 32 // FACTOR, 48 // FACTOR)
    assert torch.allclose(encoded, expected, atol=1e-5)


def test_decoding_gives_pictures_whatever_the_batch(models: ImageModels) -> None:
    whole, one_by_one = (sdxl.decode_latents(models, latents(3), max_batch=n) for n in (0, 1))
    assert whole.shape == (3, 32, 48, 3)
    assert whole.dtype == np.uint8
    assert np.abs(whole.astype(int) - one_by_one).max() <= 1


def test_rows_do_not_depend_on_each_other(models: ImageModels) -> None:
    cond = condition(models, 3)
    whole = sdxl.denoise(models, latents(3), 500, cond)
    chunked = sdxl.ImageDenoiser.of(models).in_chunks(latents(3), 500, cond, max_batch=2)
    assert torch.allclose(whole, chunked, atol=1e-5)


def test_depth_has_an_effect_and_none_at_scale_zero(models: ImageModels) -> None:
    with_depth = sdxl.denoise(models, latents(1), 500, condition(models, 1))
    without = condition(models, 1, control_scale=0.0)
    assert without.control is None
    plain = sdxl.denoise(models, latents(1), 500, without)
    scaled_away = dataclasses.replace(condition(models, 1), control_scale=0.0)
    assert not torch.allclose(with_depth, plain, atol=1e-3)
    assert torch.allclose(sdxl.denoise(models, latents(1), 500, scaled_away), plain, atol=1e-6)


def test_taking_the_embedding_out_of_the_controlnet_computes_the_same(
    models: ImageModels, config: ImageModelConfig
) -> None:
    from diffusers import ControlNetModel

    whole = load_network(ControlNetModel, config.controlnet, None, "cpu", torch.float32)
    depth = torch.rand(1, 32, 48, generator=torch.Generator().manual_seed(1))
    added = {"text_embeds": torch.ones(1, 64), "time_ids": torch.ones(1, 6)}
    common = {"encoder_hidden_states": torch.ones(1, 5, 128), "added_cond_kwargs": added}
    expected = whole(latents(1), 5, controlnet_cond=depth[:, None].expand(-1, 3, -1, -1), **common)
    control = sdxl.embed_depth(models, depth, max_batch=0)
    ours = models.controlnet(latents(1), 5, controlnet_cond=control, **common)
    assert torch.allclose(ours.mid_block_res_sample, expected.mid_block_res_sample, atol=1e-6)


def test_a_lora_is_merged_as_plain_diffusers_applies_it(config: ImageModelConfig, tmp_path: Path) -> None:
    write_lora(tmp_path)
    plain, ours = (sdxl.load_image_models(config, "cpu", ("unet",)) for _ in range(2))
    names = [name for name, _ in plain.unet.named_modules()]
    weights = tmp_path / "pytorch_lora_weights.safetensors"
    plain.unet.load_lora_adapter(str(tmp_path), weight_name=weights.name, prefix="unet")
    sdxl.load_lora(ours, weights)
    added = {"text_embeds": torch.ones(1, 64), "time_ids": torch.ones(1, 6)}
    applied, merged = (
        m.unet(latents(1), 5, torch.ones(1, 5, 128), added_cond_kwargs=added).sample for m in (plain, ours)
    )
    assert torch.allclose(applied, merged, atol=1e-5)
    assert [name for name, _ in ours.unet.named_modules()] == names


def test_time_ids_have_the_height_first() -> None:
    assert sdxl.micro_conditioning((576, 1024), (3, 5), (512, 768)).tolist() == [576, 1024, 3, 5, 512, 768]


def test_a_size_with_a_remainder_is_refused_with_the_nearest_fitting_one(models: ImageModels) -> None:
    sdxl.check_size(models, 32, 48)
    with pytest.raises(ShapeError, match=r"50x32; .* multiples of 16, such as 48x32"):
        sdxl.check_size(models, 32, 50)


def test_a_missing_repository_is_told_with_the_command_that_fetches_it(
    config: ImageModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    ref = WeightsRef("someone/some-model", "abc123", None, "fp16", 7.5, "a licence")
    with pytest.raises(WeightsError) as caught:
        sdxl.load_image_models(dataclasses.replace(config, base=ref), "cpu", ("unet",))
    message = str(caught.value)
    assert "\n" not in message
    for fact in ("someone/some-model", "abc123", "7.5 GB", "a licence"):
        assert fact in message
    assert message.endswith(
        "hf download someone/some-model --revision abc123 --include '*.json' '*.txt' '*.fp16.safetensors'"
    )


@pytest.mark.slow
def test_a_pinned_revision_of_the_local_cache_is_read(
    config: ImageModelConfig, models: ImageModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Laid out as `hf download` leaves it, with the variant's file names."""
    from huggingface_hub import constants

    revision = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "models--someone--some-model" / "snapshots" / revision
    models.unet.save_pretrained(snapshot / "unet", variant="fp16")
    models.text.encoders[0].save_pretrained(snapshot / "text_encoder", variant="fp16")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    ref = WeightsRef("someone/some-model", revision, None, "fp16", 7.5, "a licence")
    assert resolve(ref) == snapshot
    for network, part in ((models.unet, "unet"), (models.text.encoders[0], "text_encoder")):
        loaded = load_network(type(network), ref, part, "cpu", torch.float32)
        for name, value in network.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], value)
    with pytest.raises(WeightsError, match="is not in the local model cache"):
        load_network(type(models.vae), ref, "vae", "cpu", torch.float32)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="a/b/image does not exist"):
        resolve(reference(tmp_path / "a/b/image"))


def test_a_folder_without_a_part_is_named(config: ImageModelConfig, tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    with pytest.raises(WeightsError, match=r"image lacks unet"):
        base = reference(tmp_path / "image")
        sdxl.load_image_models(dataclasses.replace(config, base=base), "cpu", ("unet",))


def test_a_cut_file_is_named(config: ImageModelConfig, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "image_controlnet", tmp_path / "cut")
    file = tmp_path / "cut" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match=r"diffusion_pytorch_model\.safetensors is corrupt"):
        cut = dataclasses.replace(config, controlnet=reference(tmp_path / "cut"))
        sdxl.load_image_models(cut, "cpu", ("controlnet",))


def test_weights_of_another_network_are_refused(folder: Path, tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel

    shutil.copytree(folder / "image" / "unet", tmp_path / "unet")
    shutil.copy(
        folder / "image" / "vae" / "diffusion_pytorch_model.safetensors",
        tmp_path / "unet" / "diffusion_pytorch_model.safetensors",
    )
    with pytest.raises(WeightsError, match="is no UNet2DConditionModel"):
        load_network(UNet2DConditionModel, reference(tmp_path / "unet"), None, "cpu", torch.float32)


def test_a_controlnet_of_another_family_is_refused(
    config: ImageModelConfig, folder: Path, tmp_path: Path
) -> None:
    from diffusers import ControlNetModel

    from tests.support.image_family import NETWORK

    other = ControlNetModel(**{**NETWORK, "in_channels": 4}, conditioning_embedding_out_channels=(8, 16))
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(WeightsError, match="the image ControlNet has in_channels 4, the UNet 6"):
        wrong = dataclasses.replace(config, controlnet=reference(tmp_path / "other"))
        sdxl.load_image_models(wrong, "cpu", ("unet", "controlnet"))


def shipped(name: str) -> ModelsConfig:
    """The family that models=NAME chooses."""
    (variant,) = compose_variants(CONF, [f"models={name}"])
    return build(ModelsConfig, variant.config["models"], "models")


@pytest.mark.parametrize("name", ["mini", "sdxl_svd"])
def test_the_shipped_configurations_are_valid(name: str) -> None:
    loaded = shipped(name)
    assert loaded.name == name


def test_the_miniatures_layer_patterns_hit_what_the_method_names() -> None:
    loaded = shipped("mini")
    with torch.device("meta"):
        image, video = image_unet(), video_unet()
    assert len(resolve_layers(image, loaded.image.layers.attention)) == 4
    assert len(resolve_layers(image, loaded.image.layers.conv)) == 6
    assert len(resolve_layers(video, loaded.video.layers.attention)) == 3
    assert resolve_layers(video, loaded.video.layers.block) == ("up_blocks.1.resnets.1",)


def test_the_published_layer_patterns_hit_what_the_method_names() -> None:
    """On the real architectures, of which the manifest has the names."""
    loaded, known = shipped("sdxl_svd"), load_manifest("sdxl_svd").networks
    image, video = (modules_of(known[f"models.{kind}.base/unet"].shapes) for kind in ("image", "video"))
    assert len(resolve_layers(image, loaded.image.layers.attention)) == 3 * 10 + 3 * 2
    assert len(resolve_layers(image, loaded.image.layers.conv)) == 9
    assert len(resolve_layers(video, loaded.video.layers.attention)) == 2 + 3 + 3
    assert len(resolve_layers(video, loaded.video.layers.block)) == 1


def modules_of(parameters: Iterable[str]) -> nn.Module:
    """Modules that do nothing, named as those that hold these parameters."""
    network = nn.Module()
    for parameter in parameters:
        module = network
        for name in parameter.split(".")[:-1]:
            if name not in module._modules:
                module.add_module(name, nn.Module())
            module = module.get_submodule(name)
    return network
