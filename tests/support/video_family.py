"""A tiny random SVD family, unlike the shipped one in every number: factor 4, 6 channels, two levels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from i2v3d.config.models import VideoLayers, VideoModelConfig
from i2v3d.models.layout import EDM_SCHEDULER, feature_extractor
from i2v3d.models.temporal_controlnet import TemporalControlNet
from tests.support.image_family import reference
from tests.support.once import written_once

CHANNELS, FACTOR, EMBED_WIDTH, VISION_SIDE = 6, 4, 16, 24
LAYERS = VideoLayers(
    attention=("up_blocks.1.attentions.*.transformer_blocks.*.attn1",), block=("up_blocks.0.resnets.1",)
)
NETWORK = {
    "in_channels": 2 * CHANNELS,
    "out_channels": CHANNELS,
    # Group normalisation has 32 groups: with one channel each it would remove the time embedding.
    "block_out_channels": (64, 64),
    "down_block_types": ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
    "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
    "layers_per_block": 1,
    "cross_attention_dim": EMBED_WIDTH,
    "num_attention_heads": (2, 4),
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 24,
    "num_frames": 5,
}


def seeded(build: Callable[[], nn.Module], seed: int = 1) -> nn.Module:
    """A network built from a seed, in eval mode, without touching the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().eval().requires_grad_(False)


def tiny_unet() -> UNetSpatioTemporalConditionModel:
    """SVD's layout with two levels."""
    return UNetSpatioTemporalConditionModel(**NETWORK)


def tiny_controlnet() -> TemporalControlNet:
    """Its zero convolutions are not zero here, so that depth has an effect."""
    net = TemporalControlNet(**NETWORK, conditioning_embedding_out_channels=(8, 8, 16))
    for module in (
        *net.controlnet_down_blocks,
        net.controlnet_mid_block,
        net.controlnet_cond_embedding.conv_out,
    ):
        nn.init.normal_(module.weight, std=0.2)
    return net


def tiny_vae() -> AutoencoderKLTemporalDecoder:
    """Three levels: a factor of 4."""
    return AutoencoderKLTemporalDecoder(
        latent_channels=CHANNELS,
        block_out_channels=(32, 32, 32),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        scaling_factor=0.5,
    )


def tiny_image_encoder() -> CLIPVisionModelWithProjection:
    """One layer over four patches."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            projection_dim=EMBED_WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=VISION_SIDE,
            patch_size=12,
        )
    )


def _family() -> dict[str, Any]:
    """The networks by their folders, from a fixed seed."""
    networks = {
        "video/unet": tiny_unet,
        "video/vae": tiny_vae,
        "video/image_encoder": tiny_image_encoder,
        "video_controlnet": tiny_controlnet,
    }
    return {name: seeded(build) for name, build in networks.items()}


@written_once
def _write(folder: Path) -> None:
    for name, network in _family().items():
        network.save_pretrained(folder / name, safe_serialization=True)
    for name, content in {
        "scheduler/scheduler_config.json": EDM_SCHEDULER,
        "feature_extractor/preprocessor_config.json": feature_extractor(VISION_SIDE),
    }.items():
        path = folder / "video" / name
        path.parent.mkdir()
        path.write_text(json.dumps(content))


def write_tiny_video_family(folder: Path) -> VideoModelConfig:
    """Writes `video` and `video_controlnet` below `folder`, always the same; returns their configuration."""
    _write(folder)
    return VideoModelConfig(
        family="svd",
        base=reference(folder / "video"),
        controlnet=reference(folder / "video_controlnet"),
        dtype="float32",
        decode_frames=3,
        layers=LAYERS,
    )
