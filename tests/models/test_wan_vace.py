"""Wan VACE's numbers are those of diffusers' own pipeline, on tiny random networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import WanVACEPipeline
from PIL import Image
from torch import Tensor
from transformers import UMT5EncoderModel

from i2v3d.config.models import TextEncoderConfig, WanVaceNetworks
from i2v3d.diffusion.denoiser import BothBranches
from i2v3d.diffusion.flow_matching import integrate
from i2v3d.diffusion.guidance import Guided
from i2v3d.errors import ShapeError, WeightsError
from i2v3d.guidance.control_clip import control_clip
from i2v3d.models.wan_vace import (
    ClipAutoencoder,
    FillCondition,
    FillNetwork,
    cleaned,
    control_latents,
    embed_texts,
)
from i2v3d.models.wan_vace_weights import check_pair, load_scheduler, load_transformer
from i2v3d.models.weights import load_network
from i2v3d.progress import ignore_step
from tests.support.image_family import reference
from tests.support.vace_family import CHANNELS, TEXT_WIDTH, scheduler, tokenizer, write_tiny_pipeline

FRAMES, HEIGHT, WIDTH, STEPS, GUIDANCE, SCALE, SHIFT = 9, 32, 48, 4, 5.0, 0.8, 3.0
TEXT = torch.randn(2, 7, TEXT_WIDTH, generator=torch.Generator().manual_seed(3))  # negative, then positive


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> WanVaceNetworks:
    folder = tmp_path_factory.mktemp("vace")
    write_tiny_pipeline(folder)
    return WanVaceNetworks(base=reference(folder), dtype="float32", storage=None, transformer=None, loras=())


def pictures(count: int) -> Tensor:
    """8-bit colours (count, 3, H, W) in [-1, 1], as both ways can be given them."""
    random = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, 3, HEIGHT, WIDTH), generator=random) / 127.5 - 1


def as_pil(picture: Tensor) -> Image.Image:
    return Image.fromarray(((picture + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())


def start(with_photo: bool) -> Tensor:
    shape = (1, CHANNELS, 3 + with_photo, HEIGHT // 8, WIDTH // 8)
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


def by_pipeline(
    weights: WanVaceNetworks, video: Tensor, mask: Tensor, photo: Tensor | None, output: str
) -> Tensor:
    """What diffusers makes: output 'latent', (C, T, h, w), or 'pt', frames (F, 3, H, W) in [0, 1]."""
    pipeline = WanVACEPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=ClipAutoencoder.load(weights.base, "cpu").vae,
        transformer=load_transformer(weights, "cpu"),
        scheduler=load_scheduler(weights.base, SHIFT),
    )
    pipeline.set_progress_bar_config(disable=True)
    made: Tensor = pipeline(
        video=((video + 1) / 2)[None],
        mask=mask.expand(-1, 3, -1, -1)[None],
        reference_images=None if photo is None else [as_pil(photo)],
        prompt_embeds=TEXT[1:],
        negative_prompt_embeds=TEXT[:1],
        height=HEIGHT,
        width=WIDTH,
        num_frames=FRAMES,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        conditioning_scale=SCALE,
        latents=start(photo is not None),
        output_type=output,
    ).frames[0]
    return made


def by_network(
    weights: WanVaceNetworks, video: Tensor, mask: Tensor, photo: Tensor | None, max_batch: int = 0
) -> Tensor:
    """The latents (C, T, h, w) as the stage makes them."""
    autoencoder = ClipAutoencoder.load(weights.base, "cpu")
    control = control_latents(autoencoder, video, mask, photo)
    both = FillCondition(TEXT, torch.stack([control, control]))
    network = FillNetwork(load_transformer(weights, "cpu"), SCALE)
    guided = Guided(BothBranches(network, both, max_batch), GUIDANCE)
    begin = start(photo is not None).transpose(1, 2)
    with torch.no_grad():
        latents = integrate(load_scheduler(weights.base, SHIFT), STEPS, begin, guided.predict, ignore_step)
    return latents[0].transpose(0, 1)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("with_photo", [True, False])
@pytest.mark.slow
def test_a_whole_sampling_is_that_of_the_pipeline(weights: WanVaceNetworks, with_photo: bool) -> None:
    first, last, *control = pictures(FRAMES + 2)
    photo = pictures(FRAMES + 3)[-1] if with_photo else None
    clip = control_clip((FRAMES, HEIGHT, WIDTH), torch.stack(control), {0: first, -1: last})
    theirs, shown = (
        by_pipeline(weights, clip.video, clip.mask, photo, output) for output in ("latent", "pt")
    )
    ours = by_network(weights, clip.video, clip.mask, photo)
    assert relative(ours, theirs) < 1e-5
    frames = ClipAutoencoder.load(weights.base, "cpu").decode(ours[:, with_photo:])
    assert relative(frames, 2 * shown - 1) < 1e-5
    assert shown.std() > 0.05
    without = by_network(weights, torch.zeros_like(clip.video), clip.mask, photo)  # which the norms would see
    assert relative(without, theirs) > 1e-3


def test_the_result_does_not_depend_on_the_batch_size(weights: WanVaceNetworks) -> None:
    clip = control_clip((FRAMES, HEIGHT, WIDTH), pictures(FRAMES), {})
    whole, single = (by_network(weights, clip.video, clip.mask, None, max_batch) for max_batch in (0, 1))
    assert relative(single, whole) < 1e-5


def test_a_network_call_is_the_same_for_the_same_input(weights: WanVaceNetworks) -> None:
    """What caches of hidden states break on this class: nothing is kept between two calls."""
    condition = FillCondition(TEXT, torch.randn(2, 96, 3, 4, 6, generator=torch.Generator().manual_seed(1)))
    network, x = FillNetwork(load_transformer(weights, "cpu"), 1.0), start(False).transpose(1, 2)
    rows = torch.cat([x, x])
    assert torch.equal(network(rows, 500.0, condition), network(rows, 500.0, condition))
    assert not torch.equal(network(rows, 500.0, condition), network(rows, 100.0, condition))


def test_prompts_are_embedded_as_by_the_pipeline(weights: WanVaceNetworks) -> None:
    config = TextEncoderConfig(base=weights.base, dtype="float32", max_tokens=9)
    texts = ["blurry", "a  red\ncup &amp;amp; a cup that is longer than it may be"]
    pipeline = WanVACEPipeline(
        tokenizer=tokenizer(),
        text_encoder=load_network(UMT5EncoderModel, weights.base, "text_encoder", "cpu", torch.float32),
        vae=None,
        scheduler=scheduler(),
    )
    with torch.no_grad():
        positive, negative = pipeline.encode_prompt(texts[1], texts[0], max_sequence_length=9, device="cpu")
    found = embed_texts(config, texts, "cpu")
    assert relative(found, torch.cat([negative, positive])) < 1e-6
    assert bool((found[0, 2:] == 0).all()) and bool((found[1] != 0).any(1).all())
    assert cleaned("a  red\ncup &amp;amp; \u2019") == "a red cup & '"


def test_parts_of_different_models_are_refused(weights: WanVaceNetworks) -> None:
    transformer, autoencoder = load_transformer(weights, "cpu"), ClipAutoencoder.load(weights.base, "cpu")
    check_pair(transformer, autoencoder, TEXT[0], (HEIGHT, WIDTH))
    with pytest.raises(WeightsError, match=r"text_dim 32; its VAE and text encoder make 31"):
        check_pair(transformer, autoencoder, TEXT[0, :, 1:], (HEIGHT, WIDTH))
    with pytest.raises(ShapeError, match=r"48x24; the video model needs multiples of 16"):
        check_pair(transformer, autoencoder, TEXT[0], (24, WIDTH))


def test_a_scheduler_of_no_flow_is_refused(weights: WanVaceNetworks, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"does not exist|lacks scheduler"):
        load_scheduler(reference(tmp_path), SHIFT)
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "DDIMScheduler"}')
    with pytest.raises(WeightsError, match="is of class DDIMScheduler; expected UniPC"):
        load_scheduler(reference(tmp_path), SHIFT)
