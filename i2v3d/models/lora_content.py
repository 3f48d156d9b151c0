"""What a LoRA file says by itself, before any network is there. No torch: planning looks, too.

Source of the layouts: diffusers' and peft's own, kohya-ss' sd-scripts (lora_unet_...), LyCORIS (hada_, lokr_, ...).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from i2v3d.errors import InputError

REMEDY = "give a LoRA of the configured image UNet in diffusers' safetensors format, or train one"
_PICKLES = (b"PK\x03\x04", b"\x80")  # of torch.save, new and old
TEXT_KEY = re.compile(r"(lora_te\d?_|text_encoder|te\d?_|conditioner\.)")
# Words in keys of methods that are no LoRA, or that diffusers' loader leaves out without saying so.
_OTHER_METHODS = {
    "hada_": "a LoHa of LyCORIS",
    "lokr_": "a LoKr of LyCORIS",
    "oft_": "an OFT adapter",
    "on_input": "an IA3 adapter",
    "glora_": "a GLoRA of LyCORIS",
    ".a1.weight": "a GLoRA of LyCORIS",
    "model.diffusion_model.": "a whole checkpoint",
    ".diff": "whole weight differences of LyCORIS",
    "lora_mid.": "a LoCon with a third matrix",
    "dora_scale": "a DoRA of another trainer, whose magnitudes diffusers leaves out",
}
_TEXT_WIDTHS = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "SDXL"}


_FLOATS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "F8_E4M3": "<u1",
    "F8_E5M2": "<u1",
}  # the upper half of a float, of bfloat16; bits, of those of 8 bits
# Beginnings of the keys that diffusers' loader of SDXL takes for the UNet's: its own, and kohya's if all keys are.
_OWN, _KOHYA = "unet.", ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_")
_KOHYA_UNET = _KOHYA[0]


def check_lora_content(path: Path) -> None:
    """Refuses, from the file alone, what no UNet could use.

    Raises InputError if it is missing, no safetensors file, another method's, without a part for a UNet, has a
    number that is not finite, or two matrices of a layer whose ranks differ.
    """
    ranks: dict[str, dict[str, int]] = {}
    tensors = _tensors(path)
    _check_method(path, list(tensors))
    with path.open("rb") as stream:
        (start,) = np.fromfile(stream, "<u8", 1)
        for key, told in tensors.items():
            if TEXT_KEY.match(key):
                continue
            layer, side = _layer_and_side(key)
            if side is not None and told["dtype"] not in _FLOATS:
                raise InputError(
                    f"{path} holds numbers of type {told['dtype']} in '{key}'; expected floats: {REMEDY}"
                )
            if told["dtype"] in _FLOATS and not _is_finite(stream, 8 + int(start), told):
                raise InputError(f"{path} holds numbers that are not finite in '{key}'; train it again")
            if side is not None and len(told["shape"]) > 1:
                ranks.setdefault(layer, {})[side] = told["shape"][0 if side == "down" else 1]
    for layer, sides in ranks.items():
        if len(set(sides.values())) > 1 or len(sides) < 2:
            raise InputError(
                f"{path} holds no matching pair of matrices for {layer} ({_words(sides)}); {REMEDY}"
            )


def _tensors(path: Path) -> dict[str, dict[str, Any]]:
    """Type, shape and place of every tensor, in the order of their names.

    Raises InputError if the file is missing or no safetensors file.
    """
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
        with safe_open(path, framework="numpy"):  # which checks the header against the file
            pass
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is no safetensors file ({error}); {REMEDY}") from error
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header: dict[str, dict[str, Any]] = json.loads(stream.read(length))
    return {key: header[key] for key in sorted(header) if key != "__metadata__"}


def _is_finite(stream: IO[bytes], start: int, told: Mapping[str, Any]) -> bool:
    """Whether a tensor of floats holds finite numbers alone. start: where the tensors begin in the file."""
    first, last = told["data_offsets"]
    stream.seek(start + first)
    values = np.frombuffer(stream.read(last - first), _FLOATS[told["dtype"]])
    if told["dtype"] == "F8_E4M3":
        return bool((values & 0x7F != 0x7F).all())
    if told["dtype"] == "F8_E5M2":
        return bool((values & 0x7C != 0x7C).all())
    if told["dtype"] == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return bool(np.isfinite(values).all())


def _check_method(path: Path, keys: list[str]) -> None:
    """Raises InputError for adapters of other methods and files without a part for a UNet."""
    if not keys:
        raise InputError(f"{path} is empty; {REMEDY}")
    for word, method in _OTHER_METHODS.items():
        if key := next((key for key in keys if word in key and not TEXT_KEY.match(key)), None):
            raise InputError(f"{path} is {method} ('{key}'), which is not read; merge it, or {REMEDY}")
    kohya = all(key.startswith(_KOHYA) for key in keys) and any(key.startswith(_KOHYA_UNET) for key in keys)
    if not kohya and not any(key.startswith(_OWN) for key in keys):
        strange = next((key for key in keys if not key.startswith(_KOHYA)), min(keys))
        raise InputError(
            f"{path} holds '{strange}', which is no LoRA matrix of a UNet: its keys begin with {_OWN} or, all of them, "
            f"with {_KOHYA_UNET}; {REMEDY}"
        )


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
    width = _text_width(path)
    return f", likely one of {_TEXT_WIDTHS[width]}" if width in _TEXT_WIDTHS else ""


def check_text_width(path: Path, width: int) -> None:
    """Raises InputError if the LoRA's cross-attention reads texts of another width than its UNet does."""
    found = _text_width(path)
    if found not in (None, width):
        raise InputError(
            f"{path} is a LoRA for texts {found} wide{likely_model(path)}, but those of the configured image UNet are "
            f"{width} wide; {REMEDY}"
        )


def _text_width(path: Path) -> int | None:
    """The width of the texts that a cross-attention of the LoRA reads; None if it changes none."""
    for key, told in _tensors(path).items():
        if "attn2" in key and "to_k" in key and _layer_and_side(key)[1] == "down":
            return int(told["shape"][1])
    return None
