"""Users' files for Wan: LoRAs and transformers are what diffusers makes of them, others are refused before work."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from diffusers import WanVACEPipeline, WanVACETransformer3DModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from i2v3d.config.models import LoraFileConfig, WanVaceNetworks
from i2v3d.errors import InputError, WeightsError
from i2v3d.models.wan_files import check_lora_file, check_transformer_file
from i2v3d.models.wan_vace_weights import load_transformer, offload, place_transformer
from tests.support.image_family import reference
from tests.support.vace_family import TEXT_WIDTH, velocity, write_tiny_pipeline

WIDTH = 24  # of the tiny transformer


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> WanVaceNetworks:
    folder = tmp_path_factory.mktemp("vace")
    write_tiny_pipeline(folder)
    return WanVaceNetworks(base=reference(folder), dtype="float32", storage=None, transformer=None, loras=())


@pytest.fixture(scope="module")
def config(weights: WanVaceNetworks) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (Path(weights.base.source) / "transformer" / "config.json").read_text()
    )
    return found


def write_lora(path: Path, prefix: str, layer: str, width: int = WIDTH, seed: int = 1) -> Path:
    random = torch.Generator().manual_seed(seed)
    matrices = {
        f"{prefix}{layer}.lora_A.weight": torch.randn(2, width, generator=random),
        f"{prefix}{layer}.lora_B.weight": torch.randn(WIDTH, 2, generator=random),
    }
    save_file(matrices, path)
    return path


@pytest.mark.filterwarnings(
    "ignore:Already found a `peft_config`:UserWarning"
)  # by the pipeline's own loader
def test_loras_are_those_of_the_pipeline(
    weights: WanVaceNetworks, config: dict[str, Any], tmp_path: Path
) -> None:
    files = [
        write_lora(tmp_path / "own.safetensors", "transformer.", "blocks.1.attn1.to_q"),
        write_lora(tmp_path / "makers.safetensors", "transformer.", "vace_blocks.0.attn2.to_v", seed=2),
    ]
    loras = tuple(LoraFileConfig(file=str(f), strength=s) for f, s in zip(files, (0.5, 1.0), strict=True))
    for lora in files:
        check_lora_file(lora, config)
    pipeline = WanVACEPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=None,
        scheduler=None,
        transformer=load_transformer(weights, "cpu"),
    )
    plain = velocity(pipeline.transformer)
    for number, lora in enumerate(loras):
        pipeline.load_lora_weights(str(lora.file), adapter_name=f"l{number}")
    pipeline.set_adapters(["l0", "l1"], [0.5, 1.0])
    expected = velocity(pipeline.transformer)
    found = velocity(load_transformer(dataclasses.replace(weights, loras=loras), "cpu"))
    assert float((found - expected).norm() / expected.norm()) < 1e-5
    assert float((plain - expected).norm() / expected.norm()) > 1e-3


@pytest.mark.parametrize(
    ("prefix", "layer", "width", "told"),
    [
        ("unet.", "down_blocks.0.attentions.0.attn1.to_q", WIDTH, "matches no layer of a Wan transformer"),
        ("transformer.", "blocks.1.attn1.to_q", 48, "a LoRA of another Wan model: .* 3 blocks of width 24"),
        ("diffusion_model.", "blocks.7.self_attn.q", WIDTH, "a LoRA of another Wan model"),
    ],
)
def test_loras_of_other_models_are_refused_before_work(
    config: dict[str, Any], tmp_path: Path, prefix: str, layer: str, width: int, told: str
) -> None:
    with pytest.raises(InputError, match=told):
        check_lora_file(write_lora(tmp_path / "lora.safetensors", prefix, layer, width), config)


def test_files_that_are_none_are_refused(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        check_lora_file(tmp_path / "none.safetensors", config)
    for name in ("broken.safetensors", "broken.gguf"):
        (tmp_path / name).write_bytes(b"GGUF" + bytes(60))
        with pytest.raises(InputError, match=r"is no (GGUF|safetensors) file"):
            check_transformer_file(tmp_path / name, config)


def test_a_lora_that_changes_no_layer_is_refused_when_it_is_added(
    weights: WanVaceNetworks, tmp_path: Path
) -> None:
    file = write_lora(tmp_path / "lora.safetensors", "text_encoder.", "blocks.1.attn1.to_q")
    loras = (LoraFileConfig(file=str(file), strength=1.0),)
    with pytest.raises(InputError, match="changes no layer"):
        load_transformer(dataclasses.replace(weights, loras=loras), "cpu")


def write_gguf(path: Path, state: dict[str, Tensor]) -> str:
    """Feed-forward matrices as Q8_0, which 32 columns allow, everything else as float32."""
    writer = gguf.GGUFWriter(path, "wan")
    for name, value in state.items():
        array = value.float().numpy()
        if name.endswith("ffn.net.2.weight"):
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path)


def test_a_gguf_transformer_is_the_published_one_but_for_its_digits(
    weights: WanVaceNetworks, config: dict[str, Any], tmp_path: Path
) -> None:
    folder = Path(weights.base.source) / "transformer"
    state = load_file(folder / "diffusion_pytorch_model.safetensors")
    file = write_gguf(tmp_path / "wan.gguf", state)
    check_transformer_file(Path(file), config)
    expected = velocity(load_transformer(weights, "cpu"))
    found = velocity(load_transformer(dataclasses.replace(weights, transformer=file), "cpu"))
    assert 1e-6 < float((found - expected).norm() / expected.norm()) < 0.02
    lora = write_lora(tmp_path / "lora.safetensors", "transformer.", "blocks.1.attn1.to_q")
    both = dataclasses.replace(
        weights, transformer=file, loras=(LoraFileConfig(file=str(lora), strength=1.0),)
    )
    assert not torch.equal(velocity(load_transformer(both, "cpu")), found)


def test_transformers_of_other_models_are_refused_before_work(config: dict[str, Any], tmp_path: Path) -> None:
    other = write_gguf(tmp_path / "flux.gguf", {"double_blocks.0.img_attn.qkv.weight": torch.zeros(4, 4)})
    with pytest.raises(InputError, match="no Wan VACE transformer: it has 'double_blocks"):
        check_transformer_file(Path(other), config)
    larger = WanVACETransformer3DModel(
        num_attention_heads=3, attention_head_dim=12, text_dim=TEXT_WIDTH, ffn_dim=32, num_layers=3, vace_layers=[0, 2]
    )  # fmt: skip
    save_file(larger.state_dict(), tmp_path / "larger.safetensors")
    with pytest.raises(InputError, match="with width 36; the configured one has 24"):
        check_transformer_file(tmp_path / "larger.safetensors", config)


def test_a_file_that_diffusers_cannot_read_is_refused(weights: WanVaceNetworks, tmp_path: Path) -> None:
    (tmp_path / "half.safetensors").write_bytes(b"\x08" + bytes(20))
    half = dataclasses.replace(weights, transformer=str(tmp_path / "half.safetensors"))
    with pytest.raises(WeightsError, match="cannot be read as the transformer of"):
        load_transformer(half, "cpu")


def test_weights_in_main_memory_change_no_number(weights: WanVaceNetworks) -> None:
    whole, parts = (load_transformer(weights, "cpu") for _ in range(2))
    assert place_transformer(whole, "cpu", 10**6, 8)
    offload(parts, "cpu")
    assert torch.equal(velocity(parts), velocity(whole))


def test_float8_storage_loses_digits_only(weights: WanVaceNetworks) -> None:
    expected = velocity(load_transformer(weights, "cpu"))
    found = velocity(load_transformer(dataclasses.replace(weights, storage="float8"), "cpu"))
    assert 1e-5 < float((found - expected).norm() / expected.norm()) < 0.2
