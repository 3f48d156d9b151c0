"""LoRA files of every trainer: fused as plain diffusers fuses them, or refused for what they are."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionXLPipeline
from safetensors.torch import save_file

from i2v3d.customise.adapter import check_lora_file
from i2v3d.errors import InputError
from i2v3d.models.lora_content import check_lora_content, check_text_width
from i2v3d.models.sdxl import ImageModels, load_image_models, load_lora
from tests.support.image_family import write_tiny_family

State = dict[str, torch.Tensor]
RANK = 4
TEXT_LAYER = "text_model.encoder.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> ImageModels:
    config = write_tiny_family(tmp_path_factory.mktemp("weights"))
    return load_image_models(config, "cpu", ("unet", "vae", "text"))


@pytest.fixture
def models(loaded: ImageModels) -> ImageModels:
    """With a UNet of their own."""
    return dataclasses.replace(loaded, unet=copy.deepcopy(loaded.unet))


def plain_unet(loaded: ImageModels, weights: Path) -> Any:
    """The UNet with a LoRA fused by diffusers alone."""
    (first, second), (words, more) = loaded.text.encoders, loaded.text.tokenizers
    scheduler = DDIMScheduler.from_config(loaded.scheduler)
    unet = copy.deepcopy(loaded.unet)
    pipe = StableDiffusionXLPipeline(loaded.vae, first, second, words, more, unet, scheduler)
    pipe.load_lora_weights(str(weights.parent), weight_name=weights.name)
    pipe.unet.fuse_lora()
    pipe.unet.unload_lora()
    return pipe.unet


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float32) / 10


def layers(models: ImageModels, convolutions: bool = False) -> dict[str, torch.Size]:
    """Weights of the attention layers, or of one convolution of each block."""
    ends = (".conv1",) if convolutions else (".to_q", ".to_k", ".to_out.0", ".ff.net.2")
    return {name: m.weight.shape for name, m in models.unet.named_modules() if name.endswith(ends)}


def peft(models: ImageModels, rank: Callable[[str], int] = lambda name: RANK) -> State:
    state = {}
    for name, (rows, columns) in layers(models).items():
        state[f"unet.{name}.lora_A.weight"] = random(rank(name), columns)
        state[f"unet.{name}.lora_B.weight"] = random(rows, rank(name))
    return state


def kohya(models: ImageModels, alpha: float) -> State:
    state = {}
    for key, matrix in peft(models).items():
        layer, side = key.removeprefix("unet.").removesuffix(".weight").split(".lora_")
        name = f"lora_unet_{layer.replace('.', '_')}"
        state[f"{name}.lora_{'down' if side == 'A' else 'up'}.weight"] = matrix
        state[f"{name}.alpha"] = torch.tensor(alpha)
    return state


def convolutions(models: ImageModels) -> State:
    state = peft(models)
    for name, (rows, columns, *kernel) in layers(models, convolutions=True).items():
        state[f"unet.{name}.lora_A.weight"] = random(RANK, columns, *kernel)
        state[f"unet.{name}.lora_B.weight"] = random(rows, RANK, 1, 1)
    return state


def dora(models: ImageModels) -> State:
    """peft's: the lengths of the rows beside both matrices."""
    state = peft(models)
    for name, (rows, _) in layers(models).items():
        state[f"unet.{name}.lora_magnitude_vector"] = 1 + random(rows).abs()
    return state


def old(models: ImageModels) -> State:
    sides = {"lora_A": "lora.down", "lora_B": "lora.up"}
    return {
        key.replace(side, sides[side]): m for key, m in peft(models).items() for side in sides if side in key
    }


def with_text(models: ImageModels) -> State:
    text = {f"text_encoder.{TEXT_LAYER}.lora_A.weight": random(RANK, 32)}
    return peft(models) | text | {f"text_encoder.{TEXT_LAYER}.lora_B.weight": random(32, RANK)}


def kohya_with_text(models: ImageModels) -> State:
    name = f"lora_te1_{TEXT_LAYER.replace('.', '_')}"
    text = {f"{name}.lora_down.weight": random(RANK, 32), f"{name}.lora_up.weight": random(32, RANK)}
    return kohya(models, 2.0) | text | {f"{name}.alpha": torch.tensor(2.0)}


def metadata(models: ImageModels, alpha: int) -> dict[str, str]:
    told = {"unet.r": RANK, "unet.lora_alpha": alpha, "unet.target_modules": list(layers(models))}
    return {"format": "pt", "lora_adapter_metadata": json.dumps(told)}


KINDS: dict[str, Callable[[ImageModels], State]] = {
    "peft": peft,
    "old names": old,
    "alpha in the metadata": peft,
    "kohya, alpha as rank": lambda models: kohya(models, float(RANK)),
    "kohya, alpha a half": lambda models: kohya(models, RANK / 2),
    "kohya with text": kohya_with_text,
    "half precision": lambda models: {k: m.half() for k, m in kohya(models, 2.0).items()},
    "bfloat16": lambda models: {k: m.bfloat16() for k, m in peft(models).items()},
    "mixed ranks": lambda models: peft(models, lambda name: 2 if "to_q" in name else RANK),
    "convolutions": convolutions,
    "dora": dora,
    "with text": with_text,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_fused_as_plain_diffusers_fuses_it(
    kind: str, loaded: ImageModels, models: ImageModels, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A part for text encoders, which is not used here, is left out of diffusers' file."""
    path, plain = tmp_path / "lora.safetensors", tmp_path / "plain.safetensors"
    state = {key: matrix.contiguous() for key, matrix in KINDS[kind](models).items()}
    told = metadata(models, 2 * RANK) if "metadata" in kind else None
    save_file(state, path, metadata=told)
    save_file({k: m for k, m in state.items() if "text_model" not in k}, plain, metadata=told)
    caplog.set_level(logging.WARNING, logger="i2v3d")
    check_lora_file(models.unet, path)
    load_lora(models, path)
    theirs = dict(plain_unet(loaded, plain).named_parameters())
    before = dict(loaded.unet.named_parameters())
    changed = 0
    for name, weight in models.unet.named_parameters():
        torch.testing.assert_close(weight, theirs[name], rtol=0, atol=1e-6, msg=name)
        changed += not torch.equal(weight, before[name])
    assert changed >= len(layers(models))
    warnings = [r for r in caplog.records if r.name.startswith("i2v3d") and "text encoders" in r.message]
    assert len(warnings) == (1 if "text" in kind else 0)


def test_the_metadatas_alpha_doubles_the_change(loaded: ImageModels, tmp_path: Path) -> None:
    name = f"{next(iter(layers(loaded)))}.weight"
    plain, changes = loaded.unet.state_dict()[name], []
    for number, told in enumerate((None, metadata(loaded, 2 * RANK))):
        models = dataclasses.replace(loaded, unet=copy.deepcopy(loaded.unet))
        save_file(peft(models), tmp_path / f"{number}.safetensors", metadata=told)
        load_lora(models, tmp_path / f"{number}.safetensors")
        changes.append(models.unet.state_dict()[name] - plain)
    torch.testing.assert_close(changes[1], 2 * changes[0])


# ---------------------------------------------------------------- refusals, from the file alone
def _with(key: str) -> Callable[[State], State]:
    return lambda state: state | {key: torch.ones(2, 2)}


def _last_not_finite(state: State) -> State:
    key = max(state)
    return state | {key: state[key] * torch.nan}


REFUSED: dict[str, tuple[Callable[[State], State], str]] = {
    "LoHa": (_with("lora_unet_mid.hada_w1_a"), "is a LoHa of LyCORIS"),
    "LoKr": (_with("lora_unet_mid.lokr_w1"), "is a LoKr of LyCORIS"),
    "DoRA of kohya": (_with("lora_unet_mid.dora_scale"), "is a DoRA of another trainer"),
    "three matrices": (_with("lora_unet_mid.lora_mid.weight"), "a LoCon with a third matrix"),
    "not finite": (_last_not_finite, "not finite in 'unet.*train it again"),
    "infinite": (lambda s: s | {min(s): s[min(s)] * torch.inf}, "not finite in"),
    "one side": (lambda s: {k: m for k, m in s.items() if k != min(s)}, "no matching pair.* alone"),
    "other ranks": (lambda s: s | {min(s): random(7, s[min(s)].shape[1])}, "down has rank 7, up has rank 4"),
    "whole numbers": (lambda s: s | {min(s): s[min(s)].to(torch.int8)}, "numbers of type I8 in .* expected floats"),
    "8 bits, not finite": (
        lambda s: s | {min(s): (s[min(s)] * torch.nan).to(torch.float8_e5m2)}, "not finite in"
    ),
    "Flux": (lambda s: {k.replace("unet.", "transformer."): m for k, m in s.items()}, "holds 'transformer.*begin with"),
    "peft's own": (lambda s: {k.replace("unet.", "base_model.model."): m for k, m in s.items()}, "holds 'base_model"),
    "a checkpoint": (lambda _: {"model.diffusion_model.out.2.weight": torch.ones(2, 2)}, "is a whole checkpoint"),
    "text alone": (lambda s: {k.replace("unet.", "text_encoder."): m for k, m in s.items()}, "no LoRA matrix of"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_no_unet_could_use_is_refused_before_any_network_is_loaded(
    kind: str, loaded: ImageModels, tmp_path: Path
) -> None:
    change, message = REFUSED[kind]
    path = tmp_path / "lora.safetensors"
    save_file({k: m.contiguous() for k, m in change(peft(loaded)).items()}, path)
    with pytest.raises(InputError, match=message) as raised:
        check_lora_content(path)
    assert "\n" not in str(raised.value) and str(path) in str(raised.value)


@pytest.mark.parametrize("name", ["lora.pt", "lora.bin", "lora.safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_are_refused_under_any_name(name: str, zipped: bool, tmp_path: Path) -> None:
    torch.save({"a": random(2, 2)}, tmp_path / name, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=f"{name} is a pickle of torch.*save its matrices as"):
        check_lora_content(tmp_path / name)


def test_safetensors_under_another_name_and_damaged_files_are_refused(tmp_path: Path) -> None:
    save_file({"unet.a.lora_A.weight": random(2, 2)}, tmp_path / "lora.bin")
    with pytest.raises(InputError, match=r"has the suffix '\.bin'; expected \.safetensors"):
        check_lora_content(tmp_path / "lora.bin")
    for content in (b"", b"not safetensors", b"\x10" + bytes(7) + b"{}"):
        (tmp_path / "lora.safetensors").write_bytes(content)
        with pytest.raises(InputError, match="is no safetensors file"):
            check_lora_content(tmp_path / "lora.safetensors")


@pytest.mark.parametrize(
    ("width", "model"), [(768, r"Stable Diffusion 1\.x"), (1024, r"Stable Diffusion 2\.x")]
)
def test_a_lora_of_another_model_is_named(
    width: int, model: str, loaded: ImageModels, tmp_path: Path
) -> None:
    name = next(name for name in layers(loaded) if name.endswith("attn2.to_k"))
    state = {f"unet.{name}.lora_A.weight": random(4, width), f"unet.{name}.lora_B.weight": random(320, 4)}
    save_file(state, tmp_path / "lora.safetensors")
    with pytest.raises(InputError, match=f"of shape .* likely one of {model}"):
        check_lora_file(loaded.unet, tmp_path / "lora.safetensors")
    with pytest.raises(
        InputError, match=f"for texts {width} wide, likely one of {model}, but .* are 2048 wide"
    ):
        check_text_width(tmp_path / "lora.safetensors", 2048)
    check_text_width(tmp_path / "lora.safetensors", width)
