"""The networks of the miniature SDXL + SVD family.

Every network is an ordinary diffusers or transformers class with a small configuration, so that the code
which loads the published models loads these too. Native size 192x128, latents 16 channels at 1/8, segments
of 8 frames.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffusers import (
    AutoencoderKL,
    AutoencoderKLTemporalDecoder,
    ControlNetModel,
    UNet2DConditionModel,
    UNetSpatioTemporalConditionModel,
)
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from i2v3d.models.temporal_controlnet import TemporalControlNet
from i2v3d.toy.estimator import estimator_network
from i2v3d.toy.tokenizer import END, MAX_TOKENS, START, tokenizer_files

WIDTH, HEIGHT, FRAMES = 192, 128, 8
LATENT_CHANNELS, VAE_FACTOR = 16, 8
TEXT_WIDTH, EMBED_WIDTH, TIME_ID_WIDTH, VISION_SIDE = 64, 64, 32, 96

VAE_CONFIG: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": LATENT_CHANNELS,
    "block_out_channels": (32, 64, 64, 96),
    # Two layers and groups of 32: the only values with which the temporal decoder can start as an exact copy.
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "sample_size": WIDTH,
    "scaling_factor": 1.0,
}

IMAGE_UNET_CONFIG: dict[str, Any] = {
    "in_channels": LATENT_CHANNELS,
    "block_out_channels": (96, 96, 96),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "layers_per_block": 1,
    "transformer_layers_per_block": (1, 1, 1),
    "attention_head_dim": (3, 3, 3),  # SDXL's name for the number of heads
    "cross_attention_dim": 2 * TEXT_WIDTH,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": TIME_ID_WIDTH,
    "projection_class_embeddings_input_dim": EMBED_WIDTH + 6 * TIME_ID_WIDTH,
    "norm_num_groups": 32,
}

VIDEO_UNET_CONFIG: dict[str, Any] = {
    "in_channels": 2 * LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "block_out_channels": (64, 64, 64),
    "down_block_types": (
        "CrossAttnDownBlockSpatioTemporal",
        "CrossAttnDownBlockSpatioTemporal",
        "DownBlockSpatioTemporal",
    ),
    "up_block_types": (
        "UpBlockSpatioTemporal",
        "CrossAttnUpBlockSpatioTemporal",
        "CrossAttnUpBlockSpatioTemporal",
    ),
    "layers_per_block": 1,
    "cross_attention_dim": EMBED_WIDTH,
    "num_attention_heads": (2, 2, 2),
    "addition_time_embed_dim": TIME_ID_WIDTH,
    "projection_class_embeddings_input_dim": 3 * TIME_ID_WIDTH,
    "transformer_layers_per_block": 1,
    "num_frames": FRAMES,
    "sample_size": WIDTH // VAE_FACTOR,
}

CONDITIONING_CHANNELS = (16, 32, 32, 64)


def image_vae() -> AutoencoderKL:
    """The image autoencoder. No convolution after the latents, as the temporal decoder has none either."""
    return AutoencoderKL(
        **VAE_CONFIG, up_block_types=("UpDecoderBlock2D",) * 4, norm_num_groups=32, use_post_quant_conv=False
    )


def video_vae() -> AutoencoderKLTemporalDecoder:
    """The image encoder again, with a decoder that mixes neighbouring frames."""
    return AutoencoderKLTemporalDecoder(**VAE_CONFIG)


def _text_config(layers: int) -> CLIPTextConfig:
    vocab, _ = tokenizer_files()
    return CLIPTextConfig(
        vocab_size=len(vocab),
        hidden_size=TEXT_WIDTH,
        intermediate_size=3 * TEXT_WIDTH,
        projection_dim=EMBED_WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=vocab[START],
        eos_token_id=vocab[END],
        pad_token_id=vocab[END],
        hidden_act="gelu",
    )


def text_encoder() -> CLIPTextModel:
    """First text encoder; SDXL reads its penultimate states."""
    return CLIPTextModel(_text_config(layers=2))


def text_encoder_2() -> CLIPTextModelWithProjection:
    """Second text encoder: penultimate states and the projected pooled embedding."""
    return CLIPTextModelWithProjection(_text_config(layers=3))


def image_encoder() -> CLIPVisionModelWithProjection:
    """CLIP vision tower whose `image_embeds` condition the video UNet; trained with `text_encoder_2`."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=96,
            intermediate_size=288,
            projection_dim=EMBED_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=3,
            image_size=VISION_SIDE,
            patch_size=12,
            hidden_act="gelu",
        )
    )


def image_unet() -> UNet2DConditionModel:
    """SDXL layout: no attention at the finest level, transformers in up_blocks[0] and up_blocks[1]."""
    return UNet2DConditionModel(
        **IMAGE_UNET_CONFIG,
        out_channels=LATENT_CHANNELS,
        sample_size=WIDTH // VAE_FACTOR,
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )


def image_controlnet() -> ControlNetModel:
    """Depth ControlNet of the image UNet; condition in [0, 1], 3 equal channels."""
    return ControlNetModel(**IMAGE_UNET_CONFIG, conditioning_embedding_out_channels=CONDITIONING_CHANNELS)


def video_unet() -> UNetSpatioTemporalConditionModel:
    """SVD layout: cross-attention everywhere but at the coarsest level."""
    return UNetSpatioTemporalConditionModel(**VIDEO_UNET_CONFIG)


def video_controlnet() -> nn.Module:
    """Temporal depth ControlNet of the video UNet; condition in [-1, 1], 3 equal channels."""
    return TemporalControlNet(
        **VIDEO_UNET_CONFIG,
        conditioning_channels=3,
        conditioning_embedding_out_channels=CONDITIONING_CHANNELS,
        cumulative_residuals=False,
    )


COMPONENTS: dict[str, Callable[[], nn.Module]] = {
    "image/vae": image_vae,
    "image/text_encoder": text_encoder,
    "image/text_encoder_2": text_encoder_2,
    "image/unet": image_unet,
    "image_controlnet": image_controlnet,
    "video/vae": video_vae,
    "video/image_encoder": image_encoder,
    "video/unet": video_unet,
    "video_controlnet": video_controlnet,
    "estimator": estimator_network,
}
"""Every network of the family by its folder below the family's root, with the function that builds it."""
