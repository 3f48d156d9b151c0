"""LoRA files as users bring them: read as plain diffusers reads them, refused for what they are where it cannot.

Source of the layouts: diffusers' and peft's own, kohya-ss' sd-scripts (lora_unet_...), LyCORIS (hada_, lokr_, ...).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import StableDiffusionXLLoraLoaderMixin
from safetensors import SafetensorError, safe_open

from i2v3d.errors import InputError

REMEDY = "give a LoRA of the configured image UNet in diffusers' safetensors format, or train one"
_PICKLES = (b"PK\x03\x04", b"\x80")  # of torch.save, new and old
_TEXT = re.compile(r"(lora_te\d?_|text_encoder|te\d?_|conditioner\.)")
# Words in keys of methods that are no LoRA, or that diffusers' loader leaves out without saying so.
_OTHER_METHODS = {
    "hada_": "a LoHa of LyCORIS",
    "lokr_": "a LoKr of LyCORIS",
    "oft_": "an OFT adapter",
    "on_input": "an IA3 adapter",
    "glora_": "a GLoRA of LyCORIS",
    ".diff": "whole weight differences of LyCORIS",
    "lora_mid.": "a LoCon with a third matrix",
    "dora_scale": "a DoRA of another trainer, whose magnitudes diffusers leaves out",
}
_TEXT_WIDTHS = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "SDXL"}


@dataclass(frozen=True)
class LoraFile:
    """What diffusers makes of a file. state: matrices of the UNet, 'unet.' before each. alphas, metadata: what
    scales them, one of both. has_text: whether a part for text encoders was left out."""

    path: Path
    state: Mapping[str, torch.Tensor]
    alphas: Mapping[str, float] | None
    metadata: Mapping[str, Any] | None
    has_text: bool


def check_lora_content(path: Path) -> None:
    """Refuses, from the file alone, what no UNet could use.

    Raises InputError if it is missing, no safetensors file, another method's, without a part for a UNet, has a
    number that is not finite, or two matrices of a layer whose ranks differ.
    """
    ranks: dict[str, dict[str, int]] = {}
    with _opened(path) as content:
        keys = list(content.keys())
        _check_method(path, keys)
        for key in keys:
            if _TEXT.match(key):
                continue
            matrix = content.get_tensor(key)
            if matrix.is_floating_point() and not torch.isfinite(matrix).all():
                raise InputError(f"{path} holds numbers that are not finite in '{key}'; train it again")
            layer, side = _layer_and_side(key)
            if side is not None and matrix.ndim > 1:
                ranks.setdefault(layer, {})[side] = matrix.shape[0 if side == "down" else 1]
    for layer, sides in ranks.items():
        if len(set(sides.values())) > 1 or len(sides) < 2:
            raise InputError(
                f"{path} holds no matching pair of matrices for {layer} ({_words(sides)}); {REMEDY}"
            )


def read_lora(path: Path, unet_config: Any) -> LoraFile:
    """The UNet's part of a LoRA file, converted by diffusers; one for text encoders is left out.

    Raises InputError as `check_lora_content`, and if diffusers cannot convert it.
    """
    check_lora_content(path)
    try:
        state, alphas, metadata = StableDiffusionXLLoraLoaderMixin.lora_state_dict(
            str(path.parent),
            weight_name=path.name,
            unet_config=unet_config,
            use_safetensors=True,
            local_files_only=True,
            return_lora_metadata=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"{path} is no LoRA that diffusers reads ({reason}){likely_model(path)}; {REMEDY}"
        ) from error
    own = {key: matrix for key, matrix in state.items() if not _TEXT.match(key)}
    if not any(key.startswith("unet.") for key in own):
        raise InputError(
            f"{path} holds '{min(own, default='nothing')}' and no key that starts with 'unet.'; {REMEDY}"
        )
    own_alphas = None if alphas is None else {k: v for k, v in alphas.items() if not _TEXT.match(k)}
    return LoraFile(path, own, own_alphas, metadata, has_text=len(own) < len(state))


def _opened(path: Path) -> Any:
    """The open file. Raises InputError if it is missing or no safetensors file."""
    if not path.is_file():
        raise InputError(f"lora.weights is {path}, which does not exist; correct the path, or set it to null")
    with path.open("rb") as stream:
        head = stream.read(9)
    is_safetensors = head[4:] == bytes(4) + b"{"  # a length of 8 bytes, then JSON
    if head.startswith(_PICKLES) and not is_safetensors:
        raise InputError(
            f"{path} is a pickle of torch (.pt, .bin, .ckpt), which can run code when it is read; save its "
            "matrices as .safetensors"
        )
    if path.suffix.lower() != ".safetensors":
        raise InputError(
            f"{path} has the suffix {path.suffix or 'nothing'!r}; expected .safetensors: {REMEDY}"
        )
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is no safetensors file ({error}); {REMEDY}") from error


def _check_method(path: Path, keys: list[str]) -> None:
    """Raises InputError for adapters of other methods and files without a part for a UNet."""
    if not keys:
        raise InputError(f"{path} is empty; {REMEDY}")
    for word, method in _OTHER_METHODS.items():
        if key := next((key for key in keys if word in key and not _TEXT.match(key)), None):
            raise InputError(f"{path} is {method} ('{key}'), which is not read; merge it, or {REMEDY}")
    if all(_TEXT.match(key) for key in keys):
        raise InputError(f"{path} holds '{min(keys)}', which is no LoRA matrix of a UNet; {REMEDY}")


def _layer_and_side(key: str) -> tuple[str, str | None]:
    """The layer that a key belongs to, and 'down' or 'up' if it is one of its two matrices."""
    for side, words in (
        ("down", ("lora_down", "lora_A", "lora.down")),
        ("up", ("lora_up", "lora_B", "lora.up")),
    ):
        for word in words:
            if f".{word}." in key and key.endswith(".weight"):
                return key.split(f".{word}.")[0], side
    return key, None


def _words(sides: Mapping[str, int]) -> str:
    return ", ".join(f"{side} has rank {rank}" for side, rank in sorted(sides.items())) + " alone" * (
        len(sides) < 2
    )


def likely_model(path: Path) -> str:
    """', likely one of MODEL' for messages about a LoRA that does not fit; empty if its widths do not say."""
    with _opened(path) as content:
        for key in content.keys():  # noqa: SIM118
            if "attn2" in key and "to_k" in key and _layer_and_side(key)[1] == "down":
                width = content.get_slice(key).get_shape()[1]
                if width in _TEXT_WIDTHS:
                    return f", likely one of {_TEXT_WIDTHS[width]}"
    return ""


def scale_note(file: LoraFile) -> str:
    """What scales the matrices, in words for the log."""
    if file.metadata:
        told = {key: file.metadata[key] for key in ("unet.r", "unet.lora_alpha") if key in file.metadata}
        return f"by its metadata {json.dumps(told)}"
    return "by its alphas" if file.alphas else "with scale 1"
