"""What users' files for Wan say by themselves, before any network is there. No torch: planning looks, too.

Layouts: diffusers' own, the model's makers' (`diffusion_model.`), and those of kohya-ss' musubi-tuner (`lora_unet_`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from i2v3d.errors import InputError

GGUF = ".gguf"
_LAYER = re.compile(r"(?:^|[._])(vace_)?blocks[._](\d+)[._](self_attn|cross_attn|attn1|attn2|ffn)")
_DOWN = (".lora_down.weight", ".lora_A.weight", ".lora_A.default.weight")
_REMEDY = "give one of the configured Wan model, or leave it out"

Shapes = Mapping[str, tuple[int, ...]]


def check_transformer_file(path: Path, config: Mapping[str, Any]) -> None:
    """Refuses a file that is not the transformer of a Wan VACE model with this config.json.

    Raises InputError if it is missing, neither GGUF nor safetensors, of another model, or of another size.
    """
    shapes = _shapes(path, "models.video.networks.transformer")
    names = {name.removeprefix("model.diffusion_model.") for name in shapes}
    if not any(name.startswith("vace_blocks.0.") for name in names):
        known = next((name for name in sorted(names) if "blocks" in name), min(names, default="nothing"))
        raise InputError(
            f"{path} is no Wan VACE transformer: it has '{known}' and no 'vace_blocks.0'; give a file of a VACE model"
        )
    wanted = {
        "blocks": int(config["num_layers"]),
        "vace_blocks": len(config["vace_layers"]),
        "width": int(config["num_attention_heads"]) * int(config["attention_head_dim"]),
    }
    found = {part: _count(names, part) for part in ("blocks", "vace_blocks")}
    found["width"] = next((s[-1] for n, s in shapes.items() if n.endswith("patch_embedding.bias")), 0)
    for what, value in wanted.items():
        if found[what] != value:
            raise InputError(
                f"{path} is of a Wan VACE model with {what} {found[what]}; the configured one has {value}: give a file "
                "of that model, or set models.video.networks.base.source to the file's"
            )


def check_lora_file(path: Path, config: Mapping[str, Any]) -> None:
    """Refuses a LoRA that no layer of a Wan transformer with this config.json could take.

    Raises InputError if it is missing, no safetensors file, matches nothing, or is of a wider or deeper model.
    """
    shapes = _shapes(path, "models.video.networks.loras")
    layers = int(config["num_layers"])
    width = int(config["num_attention_heads"]) * int(config["attention_head_dim"])
    widths = {width, int(config["ffn_dim"]), int(config["text_dim"])}
    matched = False
    for name, shape in shapes.items():
        layer = _LAYER.search(name)
        if layer is None or not name.endswith(_DOWN):
            continue
        depth = len(config["vace_layers"]) if layer[1] else layers
        if int(layer[2]) >= depth or shape[-1] not in widths:
            raise InputError(
                f"{path} is a LoRA of another Wan model: {name} is {list(shape)}, the configured one has {layers} "
                f"blocks of width {width}; {_REMEDY}"
            )
        matched = True
    if not matched:
        first = min(shapes, default="nothing")
        raise InputError(f"{path} matches no layer of a Wan transformer: it has '{first}'; {_REMEDY}")


def _count(names: Iterable[str], part: str) -> int:
    """How many blocks of a kind there are."""
    found = {name.split(".")[1] for name in names if name.startswith(f"{part}.")}
    return len(found)


def _shapes(path: Path, option: str) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor. Raises InputError naming the option."""
    if not path.is_file():
        raise InputError(f"{option} names {path}, which does not exist; correct the path")
    try:
        if path.suffix == GGUF:
            return _gguf_shapes(path)
        with safe_open(path, framework="numpy") as content:
            return {name: tuple(content.get_slice(name).get_shape()) for name in content.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, IndexError) as error:
        kind = "GGUF" if path.suffix == GGUF else "safetensors"
        raise InputError(f"{path} is no {kind} file ({error}); copy it again or give another") from error


def _gguf_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The same of a GGUF file, whose shapes are those before quantisation."""
    from gguf import GGUFReader

    if path.stat().st_size < 24:
        raise ValueError("it is too short")
    reader = GGUFReader(path)
    return {tensor.name: tuple(int(side) for side in tensor.shape[::-1]) for tensor in reader.tensors}
