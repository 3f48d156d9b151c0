"""SDXL's networks from disk: an SDXL pipeline folder, its depth ControlNet, a LoRA."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from diffusers.loaders import StableDiffusionXLLoraLoaderMixin
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from i2v3d.config.models import ImageModelConfig
from i2v3d.errors import InputError, ShapeError, WeightsError
from i2v3d.models.direct_loading import Reading, begin_reading
from i2v3d.models.fast.autoencoder import quicken
from i2v3d.models.lora_content import likely_model
from i2v3d.models.lora_files import LoraFile, read_lora, scale_note
from i2v3d.models.memory import UNBOUNDED, Tier
from i2v3d.models.weights import Loading, missing, resolve

log = logging.getLogger(__name__)

Part = Literal["unet", "controlnet", "vae", "text"]
_TEXT_ENCODERS = (
    ("tokenizer", "text_encoder", CLIPTextModel),
    ("tokenizer_2", "text_encoder_2", CLIPTextModelWithProjection),
)


@dataclass(frozen=True)
class TextEncoders:
    """SDXL's two tokenizers and text encoders, in its order."""

    tokenizers: tuple[Any, ...]
    encoders: tuple[Any, ...]


@dataclass(frozen=True)
class ImageModels:
    """The parts of an SDXL pipeline that were asked for, the others None; `device` and `dtype` hold for all
    but the VAE, which is in float32. scheduler: the pipeline's scheduler config.

    memory: how sparing they are; if it says so, UNet and ControlNet are in main memory.

    depth_embedding is the ControlNet's first part, from pixels to its first features. It is the same at
    every step, so it is taken out of `controlnet`, which reads the features instead of the pixels.
    """

    unet: Any
    controlnet: Any
    depth_embedding: Any
    vae: Any
    text: TextEncoders | None
    scheduler: dict[str, Any]
    device: str
    dtype: torch.dtype
    memory: Tier = UNBOUNDED

    @property
    def channels(self) -> int:
        """Latent channels C."""
        return int(self.vae.config.latent_channels)

    @property
    def factor(self) -> int:
        """Pixels a latent, f: the VAE halves the size between two of its levels."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def size_multiple(self) -> int:
        """Picture sides must be multiples of this, or the UNet's skips do not meet what it upsamples."""
        return int(self.factor * 2 ** (len(self.unet.config.block_out_channels) - 1))


def check_size(models: ImageModels, height: int, width: int) -> None:
    """Raises ShapeError unless pictures of this size pass through VAE and UNet without a remainder."""
    multiple = models.size_multiple
    if height % multiple or width % multiple:
        raise ShapeError(
            f"renders are {width}x{height}; these image models need sides that are multiples of {multiple}, "
            f"such as {round(width / multiple) * multiple}x{round(height / multiple) * multiple}"
        )


LORA_FILE = "pytorch_lora_weights.safetensors"
"""diffusers' name of a LoRA in a folder."""


def load_guided_models(
    cfg: ImageModelConfig,
    device: str,
    size: tuple[int, int],
    lora: Path | None,
    memory: Tier = UNBOUNDED,
    *,
    fast: bool = False,
) -> ImageModels:
    """All networks of `cfg`, for renders of `size` (H, W), customised by the LoRA of a finished stage if given.

    fast: as `load_image_models` takes it.
    Raises what `load_image_models`, `check_size` and `load_lora` raise.
    """
    models = load_image_models(cfg, device, ("unet", "controlnet", "vae", "text"), memory, fast=fast)
    check_size(models, *size)
    if lora is not None:
        load_lora(models, lora / LORA_FILE)
    return models


def load_image_models(
    cfg: ImageModelConfig,
    device: str,
    parts: Collection[Part],
    memory: Tier = UNBOUNDED,
    *,
    fast: bool = False,
) -> ImageModels:
    """Loads the `parts` of the pipeline of `cfg` onto `device`, frozen.

    fast: whether the VAE encodes and decodes on fused kernels; the UNet is made fast where a stage asks for it.
    Raises WeightsError if weights are missing, corrupt or of another architecture.
    """
    dtype: torch.dtype = getattr(torch, cfg.dtype)
    begun: dict[Part, Loading] = {}
    denoiser = "cpu" if memory.streamed else device
    if "unet" in parts:
        begun["unet"] = Loading(
            UNet2DConditionModel, cfg.base, "unet", denoiser, dtype, own_memory=memory.streamed
        )
    if "controlnet" in parts:
        begun["controlnet"] = Loading(
            ControlNetModel, cfg.controlnet, None, denoiser, dtype, own_memory=memory.streamed
        )
    if "vae" in parts:
        ref, part = (cfg.base, "vae") if cfg.vae is None else (cfg.vae, None)
        begun["vae"] = Loading(AutoencoderKL, ref, part, device, torch.float32)
    text = _load_text(cfg, device, dtype) if "text" in parts else None
    finished = {name: loading.finish() for name, loading in begun.items()}
    unet, controlnet, vae = (finished.get(name) for name in ("unet", "controlnet", "vae"))
    depth_embedding = None if controlnet is None else take_depth_embedding(controlnet).to(device)
    if fast and vae is not None:
        quicken(vae)
    if unet is not None and controlnet is not None:
        _check_pair(unet, controlnet)
    try:
        config = resolve(cfg.base) / "scheduler" / "scheduler_config.json"
        scheduler = json.loads(config.read_text())
    except (OSError, ValueError) as error:
        raise missing(cfg.base, "a readable scheduler/scheduler_config.json") from error
    return ImageModels(unet, controlnet, depth_embedding, vae, text, scheduler, device, dtype, memory)


def take_depth_embedding(controlnet: Any) -> Any:
    """Removes the embedding of the pixels from a ControlNet, which then reads features, and returns it."""
    embedding = controlnet.controlnet_cond_embedding
    controlnet.controlnet_cond_embedding = nn.Identity()
    return embedding


def _check_pair(unet: Any, controlnet: Any) -> None:
    """Raises WeightsError unless the ControlNet takes what the UNet takes."""
    for key in ("in_channels", "cross_attention_dim"):
        if unet.config[key] != controlnet.config[key]:
            raise WeightsError(
                f"the image ControlNet has {key} {controlnet.config[key]}, the UNet {unet.config[key]}; "
                "set models.image.controlnet to one that was trained with models.image.base"
            )


def _load_text(cfg: ImageModelConfig, device: str, dtype: torch.dtype) -> TextEncoders:
    begun = [Loading(cls, cfg.base, encoder, device, dtype) for _, encoder, cls in _TEXT_ENCODERS]
    tokenizers = []
    for tokenizer, _, _ in _TEXT_ENCODERS:
        folder = resolve(cfg.base) / tokenizer
        if not folder.is_dir():
            raise missing(cfg.base, tokenizer)
        try:
            tokenizers.append(CLIPTokenizer.from_pretrained(folder, local_files_only=True))
        except (OSError, ValueError) as error:
            raise missing(cfg.base, f"a readable {tokenizer}") from error
    return TextEncoders(tuple(tokenizers), tuple(loading.finish() for loading in begun))


def load_lora(models: ImageModels, weights: Path) -> None:
    """Adds a LoRA file to the UNet's own weights as plain diffusers does, scaled as the file says.

    Raises InputError as `read_lora`, or if it is no LoRA of this UNet.
    """
    if not weights.is_file():
        raise InputError(f"LoRA {weights} does not exist; re-run the lora stage or correct lora.weights")
    reading = None
    if models.device.startswith("cuda"):  # while the file is looked at
        reading = begin_reading([weights], models.device, models.dtype, weights)
    file = read_lora(weights, models.unet.config)
    if fuse_directly(models.unet, file, models.device, reading):
        log.info("loaded LoRA %s, scaled %s", weights, scale_note(file))
        return
    try:
        StableDiffusionXLLoraLoaderMixin.load_lora_into_unet(
            dict(file.state), file.alphas, models.unet, metadata=file.metadata
        )
        # Adapters come in the file's precision; the mixin's own `to` warns about modules kept in float32.
        nn.Module.to(models.unet, models.unet.device, models.dtype)
        models.unet.fuse_lora()
        models.unet.unload_lora()
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        first = " ".join(str(error).split())[:160]
        raise InputError(
            f"{weights} is no LoRA of the configured image UNet ({first}){likely_model(weights)}; train it with the "
            "same models, or give a safetensors file in diffusers' format"
        ) from error
    models.unet.requires_grad_(False)
    log.info("loaded LoRA %s, scaled %s", weights, scale_note(file))


@torch.no_grad()
def fuse_directly(unet: Any, file: LoraFile, device: str, reading: Reading | None = None) -> bool:
    """Adds pairs of matrices of scale 1 to the linear layers that they are for; False, and nothing done, for others.

    device: where they are multiplied. reading: the file's matrices on their way there, if they are.

    The sums are those of diffusers and peft, which first build an adapter around every layer: seconds instead of a
    fraction of one.
    """
    if file.alphas or file.metadata:
        return False
    pairs: dict[str, dict[str, torch.Tensor]] = {}
    for key, matrix in file.state.items():
        name, side = key.removeprefix("unet.").rsplit(".lora_", 1) if ".lora_" in key else (key, "")
        pairs.setdefault(name, {})[side] = matrix
    layers = {name: module for name, module in unet.named_modules() if type(module) is nn.Linear}
    for name, sides in pairs.items():
        if sides.keys() != {"A.weight", "B.weight"} or name not in layers:
            return False
        if (len(sides["B.weight"]), sides["A.weight"].shape[1]) != tuple(layers[name].weight.shape):
            return False
    moved = {} if reading is None else reading.tensors()
    for name, sides in pairs.items():
        weight = layers[name].weight
        up, down = (
            moved.get(f"unet.{name}.lora_{side}", sides[side]).to(device, weight.dtype)
            for side in ("B.weight", "A.weight")
        )
        weight.data += (up @ down).to(weight.device)
    return True
