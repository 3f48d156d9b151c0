"""Wan VACE's transformer and scheduler from disk: published or the user's own files, placed as memory allows.

A user's transformer and LoRAs are read as diffusers reads them; `i2v3d.models.wan_files` has refused before what cannot
be used.
"""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    GGUFQuantizationConfig,
    UniPCMultistepScheduler,
    WanVACETransformer3DModel,
)
from diffusers.loaders import WanLoraLoaderMixin
from torch import Tensor

from i2v3d.config.models import LoraFileConfig, WanVaceNetworks
from i2v3d.config.weights import WeightsRef
from i2v3d.errors import InputError, ShapeError, WeightsError
from i2v3d.models.wan_files import GGUF
from i2v3d.models.wan_vace import ClipAutoencoder
from i2v3d.models.weights import load_network, missing, resolve

log = logging.getLogger(__name__)

SCHEDULERS = {cls.__name__: cls for cls in (UniPCMultistepScheduler, FlowMatchEulerDiscreteScheduler)}
RESERVE_GIB = 1.5  # of a card, for what runs beside the transformer and what the allocator loses


def load_transformer(cfg: WanVaceNetworks, device: str) -> Any:
    """The transformer of `cfg` with its LoRAs, frozen.

    Raises WeightsError if it is missing, corrupt, or of another architecture, InputError if a LoRA matches nothing.
    """
    dtype = getattr(torch, cfg.dtype)
    if cfg.transformer is None:
        transformer = load_network(WanVACETransformer3DModel, cfg.base, "transformer", "cpu", dtype)
    else:
        transformer = _from_file(Path(cfg.transformer).expanduser(), resolve(cfg.base), dtype)
    add_loras(transformer, cfg.loras, fuse=cfg.transformer is None or not cfg.transformer.endswith(GGUF))
    if cfg.storage == "float8":
        transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
    return transformer.to(device).eval().requires_grad_(False)


def _from_file(file: Path, pipeline: Path, dtype: torch.dtype) -> Any:
    """A transformer of one file, GGUF or safetensors, of the architecture that `pipeline` describes."""
    quantised = GGUFQuantizationConfig(compute_dtype=dtype) if file.suffix == GGUF else None
    try:
        return WanVACETransformer3DModel.from_single_file(
            str(file),
            config=str(pipeline),
            subfolder="transformer",
            quantization_config=quantised,
            torch_dtype=dtype,
            local_files_only=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, ImportError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(
            f"{file} cannot be read as the transformer of {pipeline} ({first}); give a GGUF or safetensors file of "
            "that model"
        ) from error


def add_loras(transformer: Any, loras: tuple[LoraFileConfig, ...], fuse: bool) -> None:
    """Adds LoRAs to a transformer as diffusers' pipelines do. fuse: into its weights, which quantised ones cannot be.

    Raises InputError for a file that diffusers cannot convert or that changes no layer.
    """
    names = [f"lora_{number}" for number in range(len(loras))]
    for name, lora in zip(names, loras, strict=True):
        file = Path(lora.file).expanduser()
        try:
            state, metadata = WanLoraLoaderMixin.lora_state_dict(
                str(file.parent),
                weight_name=file.name,
                use_safetensors=True,
                local_files_only=True,
                return_lora_metadata=True,
            )
            with warnings.catch_warnings():  # several adapters are meant
                warnings.filterwarnings("ignore", "Already found a `peft_config` attribute", UserWarning)
                transformer.load_lora_adapter(
                    state, prefix="transformer", metadata=metadata, adapter_name=name
                )
        except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise InputError(
                f"{file} is no LoRA that fits the video transformer ({reason}); give one of the configured Wan model"
            ) from error
        if name not in getattr(transformer, "peft_config", {}):
            raise InputError(
                f"{file} changes no layer of the video transformer; give a LoRA of the configured Wan model"
            )
        log.info("added %s with strength %g", file, lora.strength)
    if loras:
        transformer.set_adapters(names, [lora.strength for lora in loras])
        if fuse:
            transformer.fuse_lora()
            transformer.unload_lora()


def place_transformer(transformer: Any, device: str, tokens: int, memory_gb: int) -> bool:
    """Puts a transformer on `device`; where memory_gb do not hold it beside what a call of `tokens` needs, block by
    block when its turn comes, which changes no number. Returns whether it is there as a whole."""
    weights = sum(p.numel() * p.element_size() for p in transformer.parameters()) / 2**30
    if not device.startswith("cuda") or weights + working_gib(transformer, tokens) + RESERVE_GIB <= memory_gb:
        transformer.to(device)
        return True
    log.info("the transformer (%.1f GiB) stays in main memory; its blocks come in turn", weights)
    offload(transformer, device)
    return False


def offload(transformer: Any, device: str) -> None:
    """Keeps weights in main memory and brings every layer's to `device` for its own call, the next one's ahead."""
    transformer.enable_group_offload(
        onload_device=torch.device(device),
        offload_device=torch.device("cpu"),
        offload_type="leaf_level",
        use_stream=device.startswith("cuda"),
    )


def working_gib(transformer: Any, tokens: int) -> float:
    """Memory of one call beside the weights: the control branch's outputs in half precision, a block's in float32."""
    config = transformer.config
    width = config.num_attention_heads * config.attention_head_dim
    return float(tokens * (width * (2 * len(config.vace_layers) + 30) + 4 * config.ffn_dim) / 2**30)


def load_scheduler(base: WeightsRef, flow_shift: float) -> Any:
    """The pipeline's scheduler with another shift of its noise levels. Raises WeightsError for one of no flow."""
    path = resolve(base) / "scheduler" / "scheduler_config.json"
    if not path.is_file():
        raise missing(base, "scheduler/scheduler_config.json")
    config: dict[str, Any] = json.loads(path.read_text())
    name = str(config.get("_class_name"))
    if name not in SCHEDULERS:
        raise WeightsError(f"{path} is of class {name}; expected {' or '.join(SCHEDULERS)}")
    shift = "flow_shift" if name == "UniPCMultistepScheduler" else "shift"
    return SCHEDULERS[name].from_config(config, **{shift: flow_shift})


def check_pair(transformer: Any, autoencoder: ClipAutoencoder, text: Tensor, size: tuple[int, int]) -> None:
    """Raises WeightsError unless transformer, VAE and text fit together, ShapeError unless frames of `size` (H, W)
    are a whole number of patches. text: (L, D)."""
    config, channels = transformer.config, int(autoencoder.vae.config.z_dim)
    wanted = {
        "in_channels": channels,
        "vace_in_channels": 2 * channels + autoencoder.factor**2,
        "text_dim": text.shape[-1],
    }
    for key, value in wanted.items():
        if config[key] != value:
            raise WeightsError(
                f"the video transformer has {key} {config[key]}; its VAE and text encoder make {value}: use parts "
                "of one model"
            )
    need = autoencoder.factor * int(config.patch_size[1])
    if any(side % need for side in size):
        raise ShapeError(
            f"frames are {size[1]}x{size[0]}; the video model needs multiples of {need}: change scene.width and "
            "scene.height"
        )
