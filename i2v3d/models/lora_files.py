"""LoRA files as users bring them, read as plain diffusers reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import StableDiffusionXLLoraLoaderMixin
from safetensors import SafetensorError

from i2v3d.errors import InputError
from i2v3d.models.lora_content import REMEDY, TEXT_KEY, check_lora_content, likely_model


@dataclass(frozen=True)
class LoraFile:
    """What diffusers makes of a file. state: matrices of the UNet, 'unet.' before each. alphas, metadata: what
    scales them, one of both. has_text: whether a part for text encoders was left out."""

    path: Path
    state: Mapping[str, torch.Tensor]
    alphas: Mapping[str, float] | None
    metadata: Mapping[str, Any] | None
    has_text: bool


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
    own = {key: matrix for key, matrix in state.items() if not TEXT_KEY.match(key)}
    if not any(key.startswith("unet.") for key in own):
        raise InputError(
            f"{path} holds '{min(own, default='nothing')}' and no key that starts with 'unet.'; {REMEDY}"
        )
    own_alphas = None if alphas is None else {k: v for k, v in alphas.items() if not TEXT_KEY.match(k)}
    return LoraFile(path, own, own_alphas, metadata, has_text=len(own) < len(state))


def scale_note(file: LoraFile) -> str:
    """What scales the matrices, in words for the log."""
    if file.metadata:
        told = {key: file.metadata[key] for key in ("unet.r", "unet.lora_alpha") if key in file.metadata}
        return f"by its metadata {json.dumps(told)}"
    return "by its alphas" if file.alphas else "with scale 1"
