"""The architectures of the published models, filled with random weights: what they cost can be known without them.

Sizes are those of the configuration files that stable-diffusion-xl-base-1.0, its depth ControlNet and
stable-video-diffusion-img2vid come with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLTemporalDecoder,
    ControlNetModel,
    UNet2DConditionModel,
    UNetSpatioTemporalConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from i2v3d.models.layout import write_configs
from i2v3d.models.temporal_controlnet import TemporalControlNet

FOLDERS = {"image": ("image", "image_controlnet"), "video": ("video", "video_controlnet")}
"""Side -> where `write_random` puts its pipeline and its ControlNet."""

_IMAGE_NETWORK: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "layers_per_block": 2,
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
_VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
}
_CONDITIONING_CHANNELS = (16, 32, 96, 256)
VISION_SIDE = 224


def write_random(
    folder: Path, device: str, write_tokenizer: Callable[[Path], None], dtype: torch.dtype = torch.float16
) -> None:
    """Writes all parts of both sides below `folder`, in the layout of the published models and without variants.

    Weights have torch's own initial values and are made on `device`. 14 GB in half precision. write_tokenizer: writes
    the files of a tokenizer, of no more words than the published ones, into a folder.
    """
    for name, builder in published_networks().items():
        with torch.device(device):
            network = builder()
        network.to(dtype).save_pretrained(folder / name, safe_serialization=True)
    write_configs(folder, VISION_SIDE, write_tokenizer)


def published_networks() -> Mapping[str, Callable[[], Any]]:
    """Folder of each network -> what makes it, with torch's initial values on torch's present device."""
    return {
        "image/unet": image_unet,
        "image/vae": image_vae,
        "image/text_encoder": lambda: CLIPTextModel(text_config(768, 12, 12, "quick_gelu")),
        "image/text_encoder_2": lambda: CLIPTextModelWithProjection(text_config(1280, 32, 20, "gelu")),
        "image_controlnet": lambda: ControlNetModel(
            **_IMAGE_NETWORK, conditioning_embedding_out_channels=_CONDITIONING_CHANNELS
        ),
        "video/unet": video_unet,
        "video/vae": lambda: AutoencoderKLTemporalDecoder(**_VAE, scaling_factor=0.18215),
        "video/image_encoder": image_encoder,
        "video_controlnet": lambda: TemporalControlNet.from_unet(video_unet(), _CONDITIONING_CHANNELS),
    }


def image_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        **_IMAGE_NETWORK,
        sample_size=128,
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )


def image_vae() -> AutoencoderKL:
    return AutoencoderKL(
        **_VAE, up_block_types=("UpDecoderBlock2D",) * 4, sample_size=1024, scaling_factor=0.13025
    )


def video_unet() -> UNetSpatioTemporalConditionModel:
    """The defaults of diffusers' class are those of SVD."""
    return UNetSpatioTemporalConditionModel(num_frames=14)


def text_config(width: int, layers: int, heads: int, activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        hidden_act=activation,
    )


def image_encoder() -> CLIPVisionModelWithProjection:
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=1280,
            intermediate_size=5120,
            projection_dim=1024,
            num_hidden_layers=32,
            num_attention_heads=16,
            image_size=VISION_SIDE,
            patch_size=14,
            hidden_act="gelu",
        )
    )
