"""LoRA training: the loss, what a step may depend on, resuming, and files that plain diffusers loads."""

from __future__ import annotations

import copy
import csv
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from diffusers import DDIMScheduler, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file

from i2v3d.config.bounds import Dtype
from i2v3d.config.lora import LoraConfig
from i2v3d.config.models import ImageModelConfig
from i2v3d.customise.adapter import add_lora, check_lora_file, save_lora
from i2v3d.customise.training import LoraTrainer, Pool, add_noise, draw_rows, masked_loss
from i2v3d.errors import ArtifactError, ConfigError, InputError, LayerError
from i2v3d.images import read_rgb, write_mask, write_rgb
from i2v3d.models.memory import TIERS, UNBOUNDED, Tier
from i2v3d.models.sdxl import LORA_FILE, ImageModels, PromptEmbedding, encode_prompts, load_image_models
from i2v3d.stages.context import StageContext
from i2v3d.stages.lora import LoraStage, photo_pool, resize_rgb, train_lora, view_pool
from tests.support.image_family import FACTOR, write_tiny_family

TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2")
CFG = LoraConfig(
    weights=None,
    prompt="a sks car",
    rank=4,
    target_modules=TARGETS,
    resolution=32,
    mirror=False,
    lambda_views=1.0,
    steps=3,
    batch=1,
    learning_rate=1e-3,
    weight_decay=1e-4,
    clip_norm=1.0,
    checkpoint_every=2,
    validation_every=2,
    validation_steps=2,
    validation_guidance=2.0,
    seed=7,
)


@pytest.fixture(scope="module")
def model_config(tmp_path_factory: pytest.TempPathFactory) -> ImageModelConfig:
    return write_tiny_family(tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="module")
def plain_models(model_config: ImageModelConfig) -> ImageModels:
    """For tests that add no adapter."""
    return load_image_models(model_config, "cpu", ("unet", "vae", "text"))


@pytest.fixture
def models(plain_models: ImageModels) -> ImageModels:
    """With a UNet of its own."""
    return dataclasses.replace(plain_models, unet=copy.deepcopy(plain_models.unet))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A 48x32 photo and two views of 32x32 whose object is the left half."""
    root = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(0)
    for folder in ("scene", "views/rgb", "views/mask"):
        (root / folder).mkdir(parents=True)
    write_rgb(root / "scene" / "photo.png", rng.integers(0, 256, (32, 48, 3), np.uint8))
    mask = np.zeros((32, 32), np.bool_)
    mask[:, :16] = True
    for name in ("0001.png", "0002.png"):
        picture = np.where(mask[..., None], rng.integers(0, 256, (32, 32, 3), np.uint8), 255).astype(np.uint8)
        write_rgb(root / "views" / "rgb" / name, picture)
        write_mask(root / "views" / "mask" / name, mask)
    return {"scene": root / "scene", "views": root / "views"}


def pool(models: ImageModels, count: int, side: int = 8, seed: int = 0) -> Pool:
    source = torch.Generator().manual_seed(seed)
    latents = torch.randn((count, models.channels, side, side), generator=source)
    pixels = float(side * FACTOR)
    ids = torch.tensor([pixels, pixels, 0, 0, pixels, pixels]).expand(count, -1)
    return Pool(latents, torch.ones_like(latents[:, :1]), ids)


def trainer(
    models: ImageModels, cfg: LoraConfig, photo: Pool, views: Pool | None, alpha_bar: torch.Tensor
) -> LoraTrainer:
    parameters = add_lora(models.unet, cfg.rank, cfg.target_modules, cfg.seed)
    return LoraTrainer(models.unet, parameters, prompts(models), photo, views, alpha_bar, cfg)


def prompts(models: ImageModels) -> PromptEmbedding:
    return encode_prompts(models, [CFG.prompt])


ALPHA_BAR = torch.linspace(0.99, 0.01, 1000)


# ---------------------------------------------------------------- truths
def test_no_gradient_outside_the_mask_and_the_plain_one_inside() -> None:
    prediction = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    noise, masks = torch.zeros_like(prediction), torch.zeros(2, 1, 4, 4)
    masks[..., :2] = 1
    (gradient,) = torch.autograd.grad(masked_loss(prediction, noise, masks), prediction)
    assert gradient[..., 2:].eq(0).all()
    torch.testing.assert_close(gradient[..., :2], 2 * prediction[..., :2].detach() / prediction.numel())


def test_masked_loss_is_the_mean_over_all_elements() -> None:
    prediction, noise = torch.full((1, 2, 4, 4), 3.0), torch.ones(1, 2, 4, 4)
    masks = torch.zeros(1, 1, 4, 4)
    masks[..., :1, :] = 1
    assert masked_loss(prediction, noise, masks).item() == pytest.approx(4.0 * 4 / 16)
    assert masked_loss(prediction, noise, torch.ones_like(masks)).item() == pytest.approx(4.0)


def test_noised_latents_keep_unit_variance() -> None:
    source = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(3, 4, 64, 64, generator=source) for _ in range(2))
    noisy = add_noise(latents, noise, torch.tensor([0.0, 0.3, 1.0]))
    torch.testing.assert_close(noisy[0], noise[0])
    torch.testing.assert_close(noisy[2], latents[2])
    assert noisy[1].var().item() == pytest.approx(1, abs=0.03)


def test_a_new_adapter_changes_nothing(models: ImageModels) -> None:
    x, text = torch.randn(1, models.channels, 8, 8), prompts(models)
    added = {"text_embeds": text.pooled, "time_ids": torch.zeros(1, 6)}
    with torch.no_grad():
        before = models.unet(x, 500, text.text, added_cond_kwargs=added).sample
        add_lora(models.unet, CFG.rank, TARGETS, seed=7)
        after = models.unet(x, 500, text.text, added_cond_kwargs=added).sample
    assert torch.equal(before, after)


def test_what_a_step_draws_depends_on_seed_purpose_and_step_only(plain_models: ImageModels) -> None:
    small, large = pool(plain_models, 5), pool(plain_models, 5, side=4, seed=3)
    first = draw_rows(small, 1, 1000, seed=7, purpose="photo", step=3)
    again = draw_rows(small, 2, 1000, seed=7, purpose="photo", step=3)
    assert torch.equal(first.noise, again.noise[:1])
    assert first.timesteps[0] == again.timesteps[0]
    assert draw_rows(large, 1, 1000, 7, "photo", 3).timesteps == first.timesteps
    drawn = {int(draw_rows(small, 1, 10**6, 7, p, s).timesteps) for p in ("photo", "views") for s in range(8)}
    assert len(drawn) == 16


def test_lambda_zero_is_the_photo_alone(models: ImageModels) -> None:
    photo, views = pool(models, 3), pool(models, 3, seed=1)
    without = dataclasses.replace(CFG, lambda_views=0.0)
    alone = trainer(models, without, photo, None, ALPHA_BAR)
    (only,) = alone.loss_terms(1)
    both = LoraTrainer(models.unet, alone._parameters, prompts(models), photo, views, ALPHA_BAR, CFG)
    terms = both.loss_terms(1)
    torch.testing.assert_close(terms[0], only)
    assert terms[1].item() > 0


def test_lambda_weighs_the_views(models: ImageModels) -> None:
    photo, views = pool(models, 3), pool(models, 3, seed=1)
    one = trainer(models, CFG, photo, views, ALPHA_BAR)
    double = dataclasses.replace(CFG, lambda_views=2.0)
    two = LoraTrainer(models.unet, one._parameters, prompts(models), photo, views, ALPHA_BAR, double)
    torch.testing.assert_close(two.loss_terms(1)[1], 2 * one.loss_terms(1)[1])


@pytest.mark.slow
def test_one_minibatch_is_overfitted(models: ImageModels) -> None:
    cfg = dataclasses.replace(CFG, learning_rate=1e-2, lambda_views=0.0, rank=16)
    one = trainer(models, cfg, pool(models, 1), None, ALPHA_BAR)
    losses = [one.step(1).loss for _ in range(16)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.9 * losses[0]


@pytest.fixture
def fresh_accelerate() -> Iterator[None]:
    """accelerate allows one precision a process; these tests use another one than the rest."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def _mixed_precision_step(model_config: ImageModelConfig, device: str, dtype: Dtype) -> None:
    """A step in half precision gives nearly the float32 loss and keeps weights and moments in float32."""
    models = load_image_models(
        dataclasses.replace(model_config, dtype=dtype), device, ("unet", "vae", "text")
    )
    photo, views = pool(models, 3), pool(models, 3, seed=1)
    half = trainer(models, CFG, photo, views, ALPHA_BAR)
    losses = half.step(1)
    AcceleratorState._reset_state(reset_partial_state=True)
    full = load_image_models(model_config, device, ("unet", "vae", "text"))
    assert losses.loss == pytest.approx(trainer(full, CFG, photo, views, ALPHA_BAR).step(1).loss, rel=0.02)
    kinds = {name.split("/")[0]: value.dtype for name, value in half.state().items() if name != "scaler"}
    assert kinds == dict.fromkeys(("lora", "step", "exp_avg", "exp_avg_sq"), torch.float32)


@pytest.mark.slow
def test_mixed_precision_on_the_cpu(model_config: ImageModelConfig, fresh_accelerate: None) -> None:
    _mixed_precision_step(model_config, "cpu", "bfloat16")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_mixed_precision_on_a_gpu(
    model_config: ImageModelConfig, fresh_accelerate: None, dtype: Dtype
) -> None:
    _mixed_precision_step(model_config, "cuda", dtype)


@pytest.mark.gpu
def test_the_loss_scale_is_part_of_a_checkpoint(
    model_config: ImageModelConfig, inputs: dict[str, Path], tmp_path: Path, fresh_accelerate: None
) -> None:
    half = dataclasses.replace(model_config, dtype="float16")
    with pytest.raises(Killed):
        run(half, inputs, tmp_path, kill_at=3, device="cuda")
    assert load_file(tmp_path / "work" / "checkpoint.safetensors")["scaler"][0] > 1
    AcceleratorState._reset_state(reset_partial_state=True)
    assert len(losses(run(half, inputs, tmp_path, device="cuda"))) == CFG.steps


# ---------------------------------------------------------------- training pictures
def test_crops_slide_on_the_latent_grid(plain_models: ImageModels) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8)
    crops = photo_pool(plain_models, photo, 32, mirror=False)
    assert crops.latents.shape == ((40 - 32) // FACTOR + 1, plain_models.channels, 8, 8)
    assert crops.time_ids[:, 3].tolist() == [0, 4, 8]
    assert crops.time_ids[0].tolist() == [32, 40, 0, 0, 32, 32]
    mirrored = photo_pool(plain_models, photo, 32, mirror=True)
    assert torch.equal(mirrored.latents[:3], crops.latents)
    flipped = photo_pool(plain_models, np.ascontiguousarray(photo[:, ::-1]), 32, mirror=False)
    assert torch.equal(mirrored.latents[3:], flipped.latents)


def test_the_short_side_is_resized_first(plain_models: ImageModels) -> None:
    crops = photo_pool(plain_models, np.full((64, 80, 3), 90, np.uint8), 32, mirror=False)
    assert crops.latents.shape[0] == 3
    assert crops.time_ids[0].tolist() == [64, 80, 0, 0, 32, 32]
    assert (
        resize_rgb(np.full((64, 96, 3), 90, np.uint8), 32, 48).tolist() == np.full((32, 48, 3), 90).tolist()
    )


def test_masks_of_views_come_at_latent_size(plain_models: ImageModels, inputs: Mapping[str, Path]) -> None:
    views = view_pool(plain_models, inputs["views"], 32)
    assert views.masks.shape == (2, 1, 8, 8)
    assert views.masks[..., :4].eq(1).all()
    assert views.masks[..., 4:].eq(0).all()


def test_empty_masks_are_refused(plain_models: ImageModels, tmp_path: Path) -> None:
    for folder in ("rgb", "mask"):
        (tmp_path / folder).mkdir()
    write_rgb(tmp_path / "rgb" / "0001.png", np.full((32, 32, 3), 255, np.uint8))
    write_mask(tmp_path / "mask" / "0001.png", np.zeros((32, 32), np.bool_))
    with pytest.raises(ArtifactError, match="shows no foreground"):
        view_pool(plain_models, tmp_path, 32)


# ---------------------------------------------------------------- the stage
class Killed(Exception):
    """Stands for a kill: raised by a sink in the middle of training."""


def run(
    model_config: ImageModelConfig,
    inputs: Mapping[str, Path],
    folder: Path,
    lora: LoraConfig = CFG,
    kill_at: int | None = None,
    device: str = "cpu",
    memory: Tier = UNBOUNDED,
) -> Path:
    """Runs the stage into a fresh folder, with the work folder that earlier runs in `folder` left."""

    def sink(kind: str, row: Mapping[str, Any]) -> None:
        if kind == "metrics" and row["step"] == kill_at:
            raise Killed

    out = folder / f"out-{len(list(folder.glob('out-*'))) if folder.exists() else 0}"
    out.mkdir(parents=True)
    ctx = StageContext(device=device, max_batch=0, work=folder / "work", sinks=(sink,), memory=memory)
    train_lora(LoraStage(model_config, lora), inputs, out, ctx)
    return out


def losses(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "loss.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def trained(
    model_config: ImageModelConfig, inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return run(model_config, inputs, tmp_path_factory.mktemp("trained"))


@pytest.mark.slow
def test_stage_writes_weights_losses_and_pictures(trained: Path) -> None:
    assert sorted(p.name for p in (trained / "validation").iterdir()) == ["0002.png", "0003.png"]
    assert read_rgb(trained / "validation" / "0003.png").shape == (32, 48, 3)
    rows = losses(trained)
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    for row in rows:
        assert float(row["loss"]) == pytest.approx(
            float(row["loss_photo"]) + float(row["loss_views"]), rel=1e-6
        )
        assert float(row["grad_norm"]) > 0


@pytest.mark.slow
def test_the_leanest_tier_trains_the_same(
    model_config: ImageModelConfig, inputs: dict[str, Path], trained: Path, tmp_path: Path
) -> None:
    out = run(model_config, inputs, tmp_path, memory=TIERS[-1])
    found, expected = (load_file(folder / LORA_FILE) for folder in (out, trained))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)
    pictures = [read_rgb(folder / "validation" / "0003.png").astype(int) for folder in (out, trained)]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


@pytest.mark.slow
def test_a_killed_training_goes_on_bit_for_bit(
    model_config: ImageModelConfig, inputs: dict[str, Path], trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        run(model_config, inputs, tmp_path, kill_at=3)
    assert (tmp_path / "work" / "checkpoint.safetensors").exists()
    out = run(model_config, inputs, tmp_path)
    for name in (LORA_FILE, "loss.csv", "validation/0002.png", "validation/0003.png"):
        assert (out / name).read_bytes() == (trained / name).read_bytes(), name


@pytest.mark.slow
def test_without_views_the_views_are_not_read(
    model_config: ImageModelConfig, inputs: dict[str, Path], tmp_path: Path
) -> None:
    cfg = dataclasses.replace(CFG, lambda_views=0.0, steps=1)
    out = run(model_config, {**inputs, "views": tmp_path / "nowhere"}, tmp_path, cfg)
    (row,) = losses(out)
    assert row["loss"] == row["loss_photo"]
    assert row["loss_views"] == ""


@pytest.mark.slow
def test_a_checkpoint_of_another_configuration_is_refused(
    model_config: ImageModelConfig, inputs: dict[str, Path], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "work" / "checkpoint.safetensors"
    checkpoint.parent.mkdir()
    save_file({"history": torch.zeros(1, 4)}, checkpoint, metadata={"config": "{}"})
    with pytest.raises(ArtifactError, match=r"checkpoint\.safetensors is from another configuration"):
        run(model_config, inputs, tmp_path)
    checkpoint.write_bytes(b"half")
    with pytest.raises(ArtifactError, match=r"checkpoint\.safetensors is corrupt"):
        run(model_config, inputs, tmp_path)


@pytest.mark.slow
def test_plain_diffusers_loads_the_file_and_computes_the_same(
    plain_models: ImageModels, models: ImageModels, tmp_path: Path
) -> None:
    assert plain_models.text is not None
    encoders, tokenizers = plain_models.text.encoders, plain_models.text.tokenizers
    scheduler = DDIMScheduler.from_config(plain_models.scheduler)
    text, x = (
        prompts(models),
        torch.randn(1, models.channels, 8, 8, generator=torch.Generator().manual_seed(0)),
    )
    added = {"text_embeds": text.pooled, "time_ids": torch.zeros(1, 6)}
    with torch.no_grad():
        base = models.unet(x, 500, text.text, added_cond_kwargs=added).sample
        for name, parameter in add_lora(models.unet, CFG.rank, TARGETS, seed=7).items():
            if ".lora_B." in name:
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) / 10)
        ours = models.unet(x, 500, text.text, added_cond_kwargs=added).sample
        save_lora(models.unet, tmp_path)
        pipe = StableDiffusionXLPipeline(
            plain_models.vae, *encoders, *tokenizers, copy.deepcopy(plain_models.unet), scheduler
        )
        pipe.load_lora_weights(str(tmp_path))
        theirs = pipe.unet(x, 500, text.text, added_cond_kwargs=added).sample
    torch.testing.assert_close(theirs, ours)
    assert (ours - base).norm() > 0.01 * base.norm()


def test_a_ready_lora_is_checked_copied_and_shown(
    model_config: ImageModelConfig, inputs: dict[str, Path], trained: Path, tmp_path: Path
) -> None:
    cfg = dataclasses.replace(CFG, weights=str(trained / LORA_FILE))
    out = run(model_config, inputs, tmp_path, cfg)
    assert (out / LORA_FILE).read_bytes() == (trained / LORA_FILE).read_bytes()
    assert (out / "loss.csv").read_text().splitlines() == ["step,loss,loss_photo,loss_views,grad_norm"]
    shown, drawn = (
        read_rgb(f / "validation" / n).astype(int) for f, n in ((out, "0000.png"), (trained, "0003.png"))
    )
    assert np.abs(shown - drawn).max() <= 1


# ---------------------------------------------------------------- refusals
def _renamed(state: dict[str, torch.Tensor], old: str, new: str) -> dict[str, torch.Tensor]:
    return {key.replace(old, new): value for key, value in state.items()}


def test_a_lora_of_another_network_is_refused_by_its_first_wrong_key(
    plain_models: ImageModels, trained: Path, tmp_path: Path
) -> None:
    state, path = load_file(trained / LORA_FILE), tmp_path / "lora.safetensors"
    first = min(state)
    check_lora_file(plain_models.unet, trained / LORA_FILE)
    cases = [
        (_renamed(state, "mid_block", "middle_block"), "middle_block.*no such layer"),
        (_renamed(state, "unet.", "text_encoder."), "'text_encoder.*no LoRA matrix of a UNet"),
        ({**state, first: state[first][:, :-1].contiguous()}, f"'{first}' of shape"),
        ({key: value for key, value in state.items() if key != first}, "no matching pair"),
    ]
    for wrong, message in cases:
        save_file(wrong, path)
        with pytest.raises(InputError, match=message):
            check_lora_file(plain_models.unet, path)
    path.write_bytes(b"not safetensors")
    with pytest.raises(InputError, match="is no safetensors file"):
        check_lora_file(plain_models.unet, path)
    with pytest.raises(InputError, match="does not exist"):
        check_lora_file(plain_models.unet, tmp_path / "none.safetensors")


def test_a_lora_of_another_trainer_passes_if_diffusers_converts_it(
    plain_models: ImageModels, trained: Path, tmp_path: Path
) -> None:
    state = {}
    for key, matrix in load_file(trained / LORA_FILE).items():
        module, side = key.removeprefix("unet.").removesuffix(".weight").split(".lora_")
        name = f"lora_unet_{module.replace('.', '_')}"
        state[f"{name}.lora_{'down' if side == 'A' else 'up'}.weight"] = matrix
        state[f"{name}.alpha"] = torch.tensor(float(CFG.rank))
    save_file(state, tmp_path / "lora.safetensors")
    check_lora_file(plain_models.unet, tmp_path / "lora.safetensors")


def test_an_adapter_that_is_not_finite_is_not_written(models: ImageModels, tmp_path: Path) -> None:
    next(iter(add_lora(models.unet, 4, ("to_k",), seed=0).values())).data[0, 0] = torch.inf
    with pytest.raises(ConfigError, match=r"the LoRA's .*lora_A.*: 1 of \d+ numbers are not finite; lower"):
        save_lora(models.unet, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_target_that_names_no_layer_is_refused(models: ImageModels) -> None:
    with pytest.raises(LayerError, match=r"no linear layer is called to_qq; did you mean 'to_q'"):
        add_lora(models.unet, 4, ("to_k", "to_qq"), seed=0)


def test_a_resolution_that_does_not_fit_is_refused(
    model_config: ImageModelConfig, inputs: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"lora\.resolution is 36; .* multiple of 16, use 32 or 48"):
        run(model_config, inputs, tmp_path, dataclasses.replace(CFG, resolution=36))


def test_a_diverging_loss_stops_with_advice(models: ImageModels) -> None:
    broken = pool(models, 1)
    cfg = dataclasses.replace(CFG, lambda_views=0.0)
    one = trainer(
        models, cfg, dataclasses.replace(broken, latents=broken.latents * torch.nan), None, ALPHA_BAR
    )
    with pytest.raises(ConfigError, match=r"loss is nan at step 1; lower lora\.learning_rate"):
        one.step(1)
