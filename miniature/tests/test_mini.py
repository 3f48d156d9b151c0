"""The miniature family: tokenizer, files on disk, training pieces, and the shipped weights."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn
from transformers import CLIPTokenizer

from i2v3d.errors import ConfigError, WeightsError
from i2v3d.models.temporal_controlnet import denoise_with_residuals
from i2v3d.toy import architectures
from i2v3d.toy import family as mini
from i2v3d.toy.world.catalogue import vocabulary
from i2v3d.toy.world.sampling import sample
from i2v3d.toy.world.shapes import build_bank
from miniature.assemble import trained_networks, write_checksums
from miniature.control import start_control
from miniature.data import World, control_condition, disparity, prompts, to_signed, token_ids
from miniature.gradients import captured, fold_time_convolutions, half_step, plain, skip_single_keys
from miniature.guided_settings import GuidedImageSettings, GuidedVideoSettings
from miniature.loop import Average, Run, load_half, optimise, rate_at, save_half
from miniature.scores import psnr
from miniature.settings import (
    ClipSettings,
    ControlSettings,
    ImageSettings,
    LoopSettings,
    TemporalDecoderSettings,
    VaeDecoderSettings,
    VaeSettings,
    VideoSettings,
    WorldSettings,
    load,
)
from miniature.vae import reconstruct, standardise
from miniature.video import ClipConditions, Clips, VideoModel, interpolate

pytestmark = pytest.mark.slow  # trainings, and the shipped networks

ROOT = Path(__file__).parents[2]
CONTROL = ControlSettings(keep=1.0, init=0.3, range=1.5, wall=1.0, wall_near_m=5.0, wall_far_m=5.0)
LOOP = LoopSettings(
    seconds=60, max_steps=80, batch=1, rate=0.1, floor=0.1, warm_up=4, weight_decay=0.0, clip=10.0, ema=0.5,
    log_every=50,
)  # fmt: skip


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("family")
    mini.write_random_family(path, seed=3)
    return path


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _run(tmp_path: Path) -> Run:
    return Run(tmp_path, tmp_path, torch.device("cpu"), 0, time.monotonic())


def _settings(kind: type[Any], name: str) -> Any:
    return load(ROOT / "miniature" / "conf" / "training" / f"{name}.yaml", kind)


# ---------------------------------------------------------------- family on disk
def test_every_word_of_the_world_is_one_token(family: Path) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(family / "image" / "tokenizer")
    for word in vocabulary():
        assert len(tokenizer(word).input_ids) == 3, word
    assert tokenizer.decode(tokenizer("a sks car").input_ids, skip_special_tokens=True).split() == [
        "a",
        "sks",
        "car",
    ]


def test_strange_words_fall_apart_the_same_way_every_time(family: Path) -> None:
    one, two = (
        CLIPTokenizer.from_pretrained(family / "image" / name) for name in ("tokenizer", "tokenizer_2")
    )
    pieces = one.tokenize("zebra")
    assert len(pieces) > 2 and "".join(pieces) == "zebra</w>" and pieces == two.tokenize("zebra")


def test_training_tokens_are_the_tokenizers(family: Path) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(family / "image" / "tokenizer")
    texts = ["", "a photo of a red and blue striped car with green parts on sand under blue sky"]
    padded = tokenizer(
        texts, padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt"
    )
    assert torch.equal(padded.input_ids, token_ids(texts))


def test_family_is_small_and_repeats_bit_by_bit(family: Path, tmp_path: Path) -> None:
    files = [path for path in family.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 40e6
    mini.write_random_family(tmp_path, seed=3)
    for path in files:
        assert path.read_bytes() == (tmp_path / path.relative_to(family)).read_bytes(), path.name
    other = mini.random_family(4)["image/unet"].state_dict()
    assert not torch.equal(
        other["conv_in.weight"], mini.random_family(3)["image/unet"].state_dict()["conv_in.weight"]
    )


def test_writing_leaves_networks_and_the_global_generator_alone(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    networks = mini.random_family(0)
    assert torch.equal(before, torch.random.get_rng_state())
    weight = networks["image/vae"].encoder.conv_in.weight.detach().clone()
    mini.write_family(tmp_path, networks)
    assert torch.equal(weight, networks["image/vae"].encoder.conv_in.weight)
    del networks["video/unet"]
    with pytest.raises(WeightsError, match="video/unet"):
        mini.write_family(tmp_path, networks)


def test_temporal_decoder_starts_as_the_image_decoder() -> None:
    networks = mini.random_family(1)
    image, video = networks["image/vae"], networks["video/vae"]
    latents = torch.randn(4, architectures.LATENT_CHANNELS, 2, 3, generator=_seeded(0))
    with torch.no_grad():
        assert not torch.allclose(image.decode(latents).sample, video.decode(latents, num_frames=4).sample)
        mini.copy_image_decoder(image, video)
        assert torch.allclose(
            image.decode(latents).sample, video.decode(latents, num_frames=4).sample, atol=1e-6
        )


def test_checksums_find_a_changed_file(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"one")
    (tmp_path / "README.md").write_text("card")
    write_checksums(tmp_path)
    assert (tmp_path / "SHA256SUMS").read_text() == f"{hashlib.sha256(b'one').hexdigest()}  a.bin\n"


# ---------------------------------------------------------------- training pieces
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("vae", VaeSettings),
        ("vae_decoder", VaeDecoderSettings),
        ("temporal_decoder", TemporalDecoderSettings),
        ("clip", ClipSettings),
        ("image", ImageSettings),
        ("image_more", ImageSettings),
        ("guided_image", GuidedImageSettings),
        ("guided_image_more", GuidedImageSettings),
        ("guided_image_whole", GuidedImageSettings),
        ("guided_image_lit", GuidedImageSettings),
        ("video", VideoSettings),
        ("video_more", VideoSettings),
        ("guided_video", GuidedVideoSettings),
        ("guided_video_lit", GuidedVideoSettings),
    ],
)
def test_shipped_settings_load_and_strange_ones_are_refused(
    name: str, kind: type[Any], tmp_path: Path
) -> None:
    shipped = yaml.safe_load((ROOT / "miniature" / "conf" / "training" / f"{name}.yaml").read_text())
    assert _settings(kind, name).loop.batch == shipped["loop"]["batch"]
    for change, message in (
        ({"wrold": 1}, "world"),
        ({"loop": {**shipped["loop"], "rate": "fast"}}, "rate"),
        ({"world": {k: v for k, v in shipped["world"].items() if k != "seed"}}, r"world\.seed is missing"),
    ):
        path = tmp_path / "bad.yaml"
        path.write_text(yaml.safe_dump({**shipped, **change}))
        with pytest.raises(ConfigError, match=message):
            load(path, kind)


def test_rate_warms_up_and_decays_to_the_floor() -> None:
    assert rate_at(LOOP, 2, 0.0) == pytest.approx(0.05)
    assert rate_at(LOOP, 100, 0.5) == pytest.approx(0.1 * 0.55)
    assert rate_at(LOOP, 100, 1.0) == pytest.approx(0.01)


def test_loop_finds_a_minimum_and_leaves_the_average(tmp_path: Path) -> None:
    point = nn.Parameter(torch.tensor([3.0, -2.0]))
    gradients = plain(
        lambda goal: ((point - goal) ** 2).sum(), lambda: (torch.ones(2),), [point], torch.device("cpu")
    )
    outcome = optimise(LOOP, [point], gradients, _run(tmp_path), "test")
    assert outcome.steps == LOOP.max_steps and outcome.samples == LOOP.max_steps
    assert outcome.losses[-1] < outcome.losses[0]
    assert torch.allclose(point.detach(), torch.ones(2), atol=0.2)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    point = nn.Parameter(torch.ones(1))
    gradients = plain(
        lambda x: (point * x).sum(), lambda: (torch.full((1,), math.nan),), [point], torch.device("cpu")
    )
    with pytest.raises(WeightsError, match=r"lower loop\.rate"):
        optimise(LOOP, [point], gradients, _run(tmp_path), "test")


def test_swapping_an_average_twice_changes_nothing() -> None:
    point = nn.Parameter(torch.zeros(1))
    average = Average([point], 0.9)
    with torch.no_grad():
        point.fill_(1.0)
    average.update()
    average.swap()
    assert 0 < point.item() < 1
    average.swap()
    assert point.item() == 1


def test_half_weights_come_back_and_misfits_are_named(tmp_path: Path) -> None:
    layer = nn.Linear(3, 2)
    save_half(layer, tmp_path / "layer.safetensors")
    again = nn.Linear(3, 2)
    load_half(again, tmp_path / "layer.safetensors")
    assert torch.allclose(again.weight, layer.weight, atol=1e-3) and again.weight.dtype == torch.float32
    with pytest.raises(WeightsError, match="does not fit"):
        load_half(nn.Linear(3, 3), tmp_path / "layer.safetensors")
    with pytest.raises(WeightsError, match="missing"):
        trained_networks([tmp_path])


def test_standardising_changes_latents_but_not_pictures() -> None:
    vae = architectures.image_vae().eval()
    pictures = torch.rand(4, 3, 32, 48, generator=_seeded(1)) * 2 - 1
    with torch.no_grad():
        before = reconstruct(vae, pictures)
        standardise(vae, vae.encode(pictures).latent_dist.mode())
        spread = vae.encode(pictures).latent_dist.mode().std((0, 2, 3))
        assert torch.allclose(spread, torch.ones_like(spread), atol=1e-3)
        assert torch.allclose(reconstruct(vae, pictures), before, atol=1e-4)


def test_depth_condition_has_one_range_a_shot() -> None:
    depth = torch.tensor([[2.0, 4.0], [8.0, math.inf]]).view(1, 2, 1, 1, 2)
    exact = control_condition(disparity(depth), CONTROL, None)
    assert torch.allclose(exact.flatten(), torch.tensor([1.0, 0.5, 0.25, 0.0]), atol=1e-3)
    varied = control_condition(disparity(depth), CONTROL, _seeded(0)).flatten()
    assert 1 / 1.5 <= float(varied[0]) <= 1 and float(varied[3]) == pytest.approx(
        float(varied[0]) * 2 / 5, rel=1e-3
    )


def test_prompts_say_what_is_rendered() -> None:
    bank = build_bank(40, seed=0)
    scenes = sample(50, 1, bank, _seeded(2), "train")
    flat = torch.arange(50) % 2
    full = prompts(scenes, flat, None, lambda: 0.0)
    assert full[0].startswith("a photo of a ") and full[1].startswith("a coarse render of a ")
    settings = _settings(ImageSettings, "image").prompt
    assert set(prompts(scenes, flat, settings, lambda: 0.0)) == {""}
    assert prompts(scenes, flat, settings, lambda: 0.999) == full
    never_empty = dataclasses.replace(settings, empty=0.0)
    assert all(
        " sks " in text and " on " not in text for text in prompts(scenes, flat, never_empty, lambda: 0.0)
    )


def test_control_starts_with_an_effect() -> None:
    unet, controlnet = architectures.image_unet(), architectures.image_controlnet()
    start_control(controlnet, unet, 0.3)
    assert torch.equal(controlnet.conv_in.weight, unet.conv_in.weight)
    for convolution in (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block):
        assert float(convolution.weight.detach().std()) > 0.01
    assert float(controlnet.controlnet_cond_embedding.conv_out.weight.detach().std()) > 0


def test_folded_time_convolutions_compute_the_same() -> None:
    unet = architectures.video_unet().eval()
    inputs = (
        torch.randn(1, 3, 2 * architectures.LATENT_CHANNELS, 4, 4, generator=_seeded(3)), torch.tensor([0.5]),
        torch.randn(1, 1, architectures.EMBED_WIDTH, generator=_seeded(4)), torch.ones(1, 3),
    )  # fmt: skip
    with torch.no_grad():
        before = denoise_with_residuals(unet, *inputs, None)
        fold_time_convolutions(unet)
        assert torch.allclose(before, denoise_with_residuals(unet, *inputs, None), atol=1e-5)


def test_a_single_key_needs_no_attention() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        unet = architectures.video_unet().eval()
    inputs = (
        torch.randn(1, 3, 2 * architectures.LATENT_CHANNELS, 4, 4, generator=_seeded(3)), torch.tensor([0.5]),
        torch.randn(1, 1, architectures.EMBED_WIDTH, generator=_seeded(4)), torch.ones(1, 3),
    )  # fmt: skip
    with torch.no_grad():
        before = denoise_with_residuals(unet, *inputs, None)
        skip_single_keys(unet)
        change = denoise_with_residuals(unet, *inputs, None) - before
        assert float(change.norm() / before.norm()) < 1e-4
        two_keys = (*inputs[:2], inputs[2].expand(-1, 2, -1), inputs[3])
        with pytest.raises(AssertionError, match="more than one key"):
            denoise_with_residuals(unet, *two_keys, None)


def test_gradients_of_half_precision_copies_reach_the_parameters() -> None:
    layer, unused = nn.Linear(8, 8), nn.Parameter(torch.ones(2))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=_seeded(2)))
    half = copy.deepcopy(layer).bfloat16()
    batch = torch.randn(16, 8, generator=_seeded(1))
    with torch.no_grad():
        layer.weight.mul_(2)  # the copy is behind until the step

    def loss(network: nn.Linear) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: (network(x.to(network.weight.dtype)).float() ** 2).mean()

    plain(loss(layer), lambda: (batch,), [*layer.parameters()], torch.device("cpu"))()
    expected = [parameter.grad.clone() for parameter in layer.parameters() if parameter.grad is not None]
    layer.zero_grad(set_to_none=True)
    halves = [*half.parameters(), nn.Parameter(torch.ones(2))]
    for _ in range(2):  # gradients are replaced, not added up
        half_step(loss(half), (batch,), [*layer.parameters(), unused], halves)()
    assert unused.grad is None and len(expected) == 2
    for parameter, grad in zip(layer.parameters(), expected, strict=True):
        assert parameter.grad is not None
        assert float((parameter.grad - grad).norm() / grad.norm()) < 0.02
    assert torch.equal(half.weight, layer.weight.bfloat16())


@pytest.mark.gpu
def test_a_captured_step_computes_the_plain_gradients() -> None:
    device, layer = torch.device("cuda"), nn.Linear(64, 64, device="cuda")
    batch = torch.randn(32, 64, device=device)
    parameters = list(layer.parameters())

    def loss(x: torch.Tensor) -> torch.Tensor:
        return (layer(x) ** 2).mean()

    one = plain(loss, lambda: (batch,), parameters, device)()
    expected = [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]
    replay = captured(loss, lambda: (batch,), parameters, device)
    for _ in range(2):
        assert torch.allclose(replay(), one, rtol=1e-2)
    for parameter, grad in zip(parameters, expected, strict=True):
        assert parameter.grad is not None and torch.allclose(parameter.grad, grad, rtol=1e-2, atol=1e-4)


def test_a_clip_played_backwards_twice_is_itself() -> None:
    clips = Clips(
        *(
            torch.randn(shape)
            for shape in ((2, 3, 4, 2, 2), (2, 4, 2, 2), (2, 4, 2, 2), (2, 2, 5), (2, 3, 1, 8, 8))
        )
    )
    both = torch.ones(2, dtype=torch.bool)
    turned = clips.backwards(both)
    assert torch.equal(turned.first, clips.last) and torch.equal(turned.latents, clips.latents.flip(1))
    assert all(torch.equal(a, b) for a, b in zip(turned.backwards(both), clips, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(clips.backwards(~both), clips, strict=True))


def test_sampling_with_the_ideal_velocity_ends_at_the_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """One point x0 as the data: the ideal v is (x - (s^2 + 1) x0) / (s sqrt(s^2 + 1))."""
    truth = torch.randn(1, 4, 2, 2, 2, generator=_seeded(5))
    latents = torch.cat([truth, truth.flip(1)])  # the reversed pass asks for the reversed clip
    clips = Clips(
        latents[:1], latents[0, :1], latents[0, -1:], torch.zeros(1, 2, 3), torch.ones(1, 4, 1, 16, 16)
    )

    def ideal(model: Any, state: torch.Tensor, sigma: torch.Tensor, given: ClipConditions) -> torch.Tensor:
        target = truth if torch.equal(given.marked, clips.first) else truth.flip(1)
        s = sigma.view(-1, 1, 1, 1, 1)
        return (state - (s**2 + 1) * target) / (s * (s**2 + 1).sqrt())

    monkeypatch.setattr("miniature.video.velocity", ideal)
    settings = _settings(VideoSettings, "video")
    for both_ways in (True, False):
        made = interpolate(VideoModel(None, None), clips, settings, both_ways=both_ways, keep=True)
        assert torch.allclose(made, truth, atol=1e-3)


# ---------------------------------------------------------------- shipped weights
def test_shipped_files_are_whole_and_small() -> None:
    family = ROOT / "weights" / "mini"
    listed = dict(line.split("  ")[::-1] for line in (family / "SHA256SUMS").read_text().splitlines())
    files = [path for path in family.rglob("*") if path.is_file()]
    assert {str(p.relative_to(family)) for p in files} == {*listed, "SHA256SUMS", "README.md"}
    assert sum(path.stat().st_size for path in files) < 40e6
    for name, digest in listed.items():
        assert hashlib.sha256((family / name).read_bytes()).hexdigest() == digest, name


def test_shipped_autoencoder_keeps_held_out_photos() -> None:
    from diffusers import AutoencoderKL

    world = WorldSettings(
        seed=99, variants=40, pool=0, pool_seconds=0, chunk=2, samples=2, held_out=2, width=192, height=128,
        coarse="flat",
    )  # fmt: skip
    _, frames = World(world, torch.device("cpu")).held_out(1)
    vae = AutoencoderKL.from_pretrained(
        ROOT / "weights" / "mini" / "image" / "vae", torch_dtype=torch.float32
    )
    photo = to_signed(frames.photo[:, 0])
    inside = frames.mask[:, 0] > 0.5
    again = reconstruct(vae, photo)
    assert psnr(again, photo) > 32 and psnr(again, photo, inside) > 28
