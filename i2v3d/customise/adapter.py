"""LoRA adapters of the image UNet: adding, naming, saving and checking them, in diffusers' file format."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import StableDiffusionXLLoraLoaderMixin
from diffusers.utils import convert_unet_state_dict_to_peft
from peft import LoraConfig as PeftConfig
from peft import get_peft_model_state_dict

from i2v3d.artifacts.tensors import require_finite
from i2v3d.errors import InputError, LayerError, nearest
from i2v3d.models.lora_content import REMEDY, likely_model
from i2v3d.models.lora_files import read_lora
from i2v3d.models.sdxl_weights import LORA_FILE
from i2v3d.randomness import noise

log = logging.getLogger(__name__)

# Of DoRA, the lengths of the weight's rows come beside the two matrices.
_KEY = re.compile(r"unet\.(?P<module>.+)\.lora_(?P<side>A|B|magnitude_vector)(\.weight)?")


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
    """Writes the UNet's adapter as `folder`/pytorch_lora_weights.safetensors, as plain diffusers loads it.

    Raises ConfigError if a number of it is not finite.
    """
    # peft's own names (lora_A, lora_B) for every layer: diffusers' converter would rename the attentions' only.
    layers = {name: matrix.contiguous() for name, matrix in get_peft_model_state_dict(unet).items()}
    for name, matrix in layers.items():
        require_finite(matrix, f"the LoRA's {name}")
    StableDiffusionXLLoraLoaderMixin.save_lora_weights(folder, unet_lora_layers=layers)
    return folder / LORA_FILE


def check_lora_file(unet: Any, path: Path) -> None:
    """Raises InputError unless `path` holds a LoRA of this UNet, naming the first wrong key.

    unet: without an adapter. Formats of other trainers pass if diffusers can convert them; a part for text encoders
    is warned about and not used.
    """
    file = read_lora(path, unet.config)
    if file.has_text:
        log.warning("%s has a part for text encoders, which is not used", path)
    state = convert_unet_state_dict_to_peft(dict(file.state))
    layers = {name: module for name, module in unet.named_modules() if hasattr(module, "weight")}
    ranks: dict[str, dict[str, int]] = {}
    for key, matrix in sorted(state.items()):
        match = _KEY.fullmatch(key)
        if match is None:
            raise InputError(f"{path} holds '{key}', which is no LoRA matrix of a UNet; {REMEDY}")
        if match["side"] in ("A", "B"):
            rank = _rank(path, key, tuple(matrix.shape), match["module"], layers)
            ranks.setdefault(match["module"], {})[match["side"]] = rank
    for module, sides in ranks.items():
        if set(sides) != {"A", "B"} or sides["A"] != sides["B"]:
            raise InputError(f"{path} holds no matching pair of matrices for {module} ({sides}); {REMEDY}")


def _rank(path: Path, key: str, shape: tuple[int, ...], module: str, layers: Mapping[str, Any]) -> int:
    """The rank that one matrix of `module` has; raises InputError if it does not fit its layer."""
    if module not in layers:
        raise InputError(
            f"{path} holds '{key}', but the UNet has no such layer{likely_model(path)}; {nearest(module, layers)} "
            f"{REMEDY}"
        )
    weight = layers[module].weight
    side, other = (1, 0) if ".lora_A." in key else (0, 1)
    if len(shape) != weight.ndim or shape[side] != weight.shape[side]:
        raise InputError(
            f"{path} holds '{key}' of shape {shape}, but that layer's weight is {tuple(weight.shape)}"
            f"{likely_model(path)}; {REMEDY}"
        )
    return shape[other]
