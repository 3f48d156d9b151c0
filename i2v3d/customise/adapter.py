"""LoRA adapters of the image UNet: adding, naming, saving and checking them, in diffusers' file format."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import StableDiffusionXLLoraLoaderMixin
from diffusers.utils import convert_unet_state_dict_to_peft
from peft import LoraConfig as PeftConfig
from peft import get_peft_model_state_dict
from safetensors import SafetensorError

from i2v3d.errors import InputError, LayerError, nearest
from i2v3d.models.sdxl_weights import LORA_FILE
from i2v3d.randomness import noise

_KEY = re.compile(r"unet\.(?P<module>.+)\.lora_(?P<side>A|B)\.weight")
_REMEDY = "give a LoRA of the configured image UNet in diffusers' safetensors format, or train one"


def add_lora(unet: Any, rank: int, target_modules: Sequence[str], seed: int) -> dict[str, torch.nn.Parameter]:
    """Adds a trainable float32 adapter to every linear layer whose name ends in one of `target_modules`.

    The delta is up @ down with alpha = rank, so its scale is 1; down starts normal with deviation 1 / rank,
    drawn from (seed, layer), up starts at 0. Returns the adapter's parameters by name, in a fixed order.
    Raises LayerError if one of `target_modules` names no layer. Source: Hu et al., LoRA, 2022.
    """
    linear = [name for name, module in unet.named_modules() if isinstance(module, torch.nn.Linear)]
    for target in target_modules:
        if not any(f".{name}".endswith(f".{target}") for name in linear):
            ends = {".".join(name.split(".")[-n:]) for name in linear for n in (1, 2, 3)}
            raise LayerError(
                f"lora.target_modules: no linear layer is called {target}; {nearest(target, ends)}"
            )
    unet.add_adapter(PeftConfig(r=rank, lora_alpha=rank, target_modules=list(target_modules)))
    parameters = {name: p for name, p in sorted(unet.named_parameters()) if p.requires_grad}
    for name, parameter in parameters.items():
        parameter.data = parameter.data.float()
        if ".lora_A." in name:
            parameter.data.copy_(noise(tuple(parameter.shape), seed, "lora/init", name) / rank)
        else:
            parameter.data.zero_()
    return parameters


def save_lora(unet: Any, folder: Path) -> Path:
    """Writes the UNet's adapter as `folder`/pytorch_lora_weights.safetensors, as plain diffusers loads it."""
    # peft's own names (lora_A, lora_B) for every layer: diffusers' converter would rename the attentions' only.
    layers = {name: matrix.contiguous() for name, matrix in get_peft_model_state_dict(unet).items()}
    StableDiffusionXLLoraLoaderMixin.save_lora_weights(folder, unet_lora_layers=layers)
    return folder / LORA_FILE


def check_lora_file(unet: Any, path: Path) -> None:
    """Raises InputError unless `path` is a LoRA of this UNet and of nothing else, naming the first wrong key.

    unet: without an adapter. Formats of other trainers pass if diffusers can convert them.
    """
    layers = {name: module for name, module in unet.named_modules() if hasattr(module, "weight")}
    ranks: dict[str, dict[str, int]] = {}
    for key, shape in sorted(_shapes(unet, path).items()):
        match = _KEY.fullmatch(key)
        if match is None:
            raise InputError(f"{path} holds '{key}', which is no LoRA matrix of a UNet; {_REMEDY}")
        rank = _rank(path, key, shape, match["module"], layers)
        ranks.setdefault(match["module"], {})[match["side"]] = rank
    for module, sides in ranks.items():
        if set(sides) != {"A", "B"} or sides["A"] != sides["B"]:
            raise InputError(f"{path} holds no matching pair of matrices for {module} ({sides}); {_REMEDY}")
    if not ranks:
        raise InputError(f"{path} is empty; {_REMEDY}")


def _shapes(unet: Any, path: Path) -> dict[str, tuple[int, ...]]:
    """The matrices of a LoRA file by the names that diffusers gives them. Raises InputError as above."""
    if not path.is_file():
        raise InputError(f"lora.weights is {path}, which does not exist; correct the path, or set it to null")
    try:
        state, _ = StableDiffusionXLLoraLoaderMixin.lora_state_dict(
            str(path.parent),
            weight_name=path.name,
            unet_config=unet.config,
            use_safetensors=True,
            local_files_only=True,
        )
    except SafetensorError as error:
        raise InputError(f"{path} is no safetensors file ({error}); {_REMEDY}") from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{path} is no LoRA that diffusers reads ({reason}); {_REMEDY}") from error
    return {key: tuple(m.shape) for key, m in convert_unet_state_dict_to_peft(state).items()}


def _rank(path: Path, key: str, shape: tuple[int, ...], module: str, layers: Mapping[str, Any]) -> int:
    """The rank that one matrix of `module` has; raises InputError if it does not fit its layer."""
    if module not in layers:
        raise InputError(
            f"{path} holds '{key}', but the UNet has no such layer; {nearest(module, layers)} {_REMEDY}"
        )
    weight = layers[module].weight
    side, other = (1, 0) if ".lora_A." in key else (0, 1)
    if len(shape) != weight.ndim or shape[side] != weight.shape[side]:
        raise InputError(
            f"{path} holds '{key}' of shape {shape}, but that layer's weight is {tuple(weight.shape)}; "
            f"{_REMEDY}"
        )
    return shape[other]
