"""A tiny random SDXL family on disk, unlike the shipped one in every number, and renders for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import nn

from i2v3d.config.models import ImageLayers, ImageModelConfig
from i2v3d.config.weights import WeightsRef
from i2v3d.models.layout import DDIM_SCHEDULER
from i2v3d.toy.architectures import text_encoder, text_encoder_2
from i2v3d.toy.tokenizer import write_tokenizer
from tests.support.once import written_once

CHANNELS, FACTOR = 6, 4
LAYERS = ImageLayers(
    attention=("up_blocks.[01].attentions.*.transformer_blocks.*.attn1",),
    conv=("up_blocks.[012].resnets.*.conv2",),
)
NETWORK = {
    "in_channels": CHANNELS,
    "block_out_channels": (16, 16, 32),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "layers_per_block": 1,
    "transformer_layers_per_block": (1, 1, 2),
    "attention_head_dim": (2, 2, 4),
    "cross_attention_dim": 128,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 64 + 6 * 8,
    "norm_num_groups": 8,
}


def tiny_unet() -> UNet2DConditionModel:
    """SDXL's layout with three levels."""
    return UNet2DConditionModel(
        **NETWORK,
        out_channels=CHANNELS,
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        sample_size=16,
    )


def tiny_controlnet() -> ControlNetModel:
    """Its zero convolutions are not zero here, so that depth has an effect; two strides, as the VAE."""
    net = ControlNetModel(**NETWORK, conditioning_embedding_out_channels=(8, 8, 16))
    for module in (
        *net.controlnet_down_blocks,
        net.controlnet_mid_block,
        net.controlnet_cond_embedding.conv_out,
    ):
        nn.init.normal_(module.weight, std=0.2)
    return net


def tiny_vae() -> AutoencoderKL:
    """Three levels: a factor of 4."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=CHANNELS,
        block_out_channels=(8, 8, 16),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        scaling_factor=0.5,
    )


def _family() -> dict[str, Any]:
    """The networks by their folders, from a fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return {
            "image/unet": tiny_unet(),
            "image/vae": tiny_vae(),
            "image/text_encoder": text_encoder(),
            "image/text_encoder_2": text_encoder_2(),
            "image_controlnet": tiny_controlnet(),
        }


@written_once
def _write(folder: Path) -> None:
    for name, network in _family().items():
        network.save_pretrained(folder / name, safe_serialization=True)
    for name in ("tokenizer", "tokenizer_2"):
        write_tokenizer(folder / "image" / name)
    (folder / "image" / "scheduler").mkdir()
    (folder / "image" / "scheduler" / "scheduler_config.json").write_text(json.dumps(DDIM_SCHEDULER))


def write_tiny_family(folder: Path) -> ImageModelConfig:
    """Writes `image` and `image_controlnet` below `folder`, always the same; returns their configuration."""
    _write(folder)
    return ImageModelConfig(
        family="sdxl",
        base=reference(folder / "image"),
        vae=None,
        controlnet=reference(folder / "image_controlnet"),
        dtype="float32",
        layers=LAYERS,
    )


def reference(source: Path | str) -> WeightsRef:
    """A reference to a local folder."""
    return WeightsRef(
        source=str(source), revision=None, subfolder=None, variant=None, size_gb=0.1, licence="none"
    )


def write_lora(folder: Path, scale: float = 1.0) -> None:
    """A random LoRA of rank 2 on every query, in diffusers' file format."""
    from diffusers import StableDiffusionXLPipeline
    from peft import LoraConfig, get_peft_model_state_dict

    unet = tiny_unet()
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q"]))
    state = get_peft_model_state_dict(unet)
    generator = torch.Generator().manual_seed(3)
    random = {k: scale * 0.1 * torch.randn(v.shape, generator=generator) for k, v in state.items()}
    StableDiffusionXLPipeline.save_lora_weights(folder, unet_lora_layers=random)
