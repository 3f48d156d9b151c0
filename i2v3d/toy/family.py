"""The miniature SDXL + SVD family: architectures, tokenizer, and its layout on disk.

Every network is an ordinary diffusers or transformers class with a small configuration, so that the code
which loads the published models loads these too. Native size 192x128, latents 16 channels at 1/8, segments
of 8 frames.

    <family>/image/             a StableDiffusionXLPipeline folder
    <family>/image_controlnet/  ControlNetModel (depth)
    <family>/video/             a StableVideoDiffusionPipeline folder
    <family>/video_controlnet/  TemporalControlNet (depth)
    <family>/estimator/         EstimatorNetwork (depth, mask and identity of pictures, for scores)
"""

from __future__ import annotations

import copy
import json
import shutil
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
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from i2v3d.errors import WeightsError
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

DDIM_SCHEDULER: dict[str, Any] = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "thresholding": False,
    "rescale_betas_zero_snr": False,
}

EDM_SCHEDULER: dict[str, Any] = {
    "_class_name": "EulerDiscreteScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "interpolation_type": "linear",
    "use_karras_sigmas": True,
    "sigma_min": 0.002,
    "sigma_max": 700.0,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "steps_offset": 1,
}

FEATURE_EXTRACTOR: dict[str, Any] = {
    "image_processor_type": "CLIPImageProcessor",
    "crop_size": {"height": VISION_SIDE, "width": VISION_SIDE},
    "size": {"shortest_edge": VISION_SIDE},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "rescale_factor": 1 / 255,
}

_IMAGE_INDEX: dict[str, Any] = {
    "_class_name": "StableDiffusionXLPipeline",
    "force_zeros_for_empty_prompt": False,
    "add_watermarker": None,
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}

_VIDEO_INDEX: dict[str, Any] = {
    "_class_name": "StableVideoDiffusionPipeline",
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "unet": ["diffusers", "UNetSpatioTemporalConditionModel"],
    "vae": ["diffusers", "AutoencoderKLTemporalDecoder"],
}


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
    from i2v3d.models.temporal_controlnet import TemporalControlNet

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


TEMPORAL_DECODER = "vvae"
"""Weight file, among trained parts, of a video VAE whose decoder is more than a copy of the image decoder."""


def random_family(seed: int) -> dict[str, nn.Module]:
    """All networks of `COMPONENTS`, freshly initialised from `seed` without touching the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {name: build() for name, build in COMPONENTS.items()}


def copy_image_decoder(image: AutoencoderKL, video: AutoencoderKLTemporalDecoder) -> None:
    """Makes the temporal decoder compute exactly what the image decoder does, frame by frame.

    Encoder and spatial residual blocks are copied, the last temporal convolution of every block is zeroed,
    and the final convolution over time becomes the identity. Raises WeightsError if the architectures
    differ.
    """
    source, target = image.state_dict(), video.state_dict()
    for name, value in target.items():
        origin = name.replace(".spatial_res_block.", ".")
        if origin in source:
            if source[origin].shape != value.shape:
                raise WeightsError(
                    f"{origin} is {tuple(source[origin].shape)} in the image VAE but {name} is "
                    f"{tuple(value.shape)} in the video VAE; build both from one configuration"
                )
            value.copy_(source[origin])
        elif ".temporal_res_block.conv2." in name:
            value.zero_()
    time_conv = video.decoder.time_conv_out
    with torch.no_grad():
        nn.init.zeros_(time_conv.weight)
        nn.init.zeros_(time_conv.bias)
        for channel in range(time_conv.weight.shape[0]):
            time_conv.weight[channel, channel, time_conv.weight.shape[2] // 2] = 1.0


def write_family(path: Path, networks: Mapping[str, nn.Module]) -> None:
    """Writes the whole family below `path`: networks as fp16 safetensors, schedulers, tokenizers, indices.

    networks: one of every name in `COMPONENTS`; they are written in fp16 and left unchanged.
    Raises WeightsError if one is missing.
    """
    missing = sorted(set(COMPONENTS) - set(networks))
    if missing:
        raise WeightsError(f"the family lacks {', '.join(missing)}; pass every network of COMPONENTS")
    path.mkdir(parents=True, exist_ok=True)
    for name in COMPONENTS:
        _save_half(networks[name], path / name)
    write_configs(path, VISION_SIDE)


def write_configs(path: Path, vision_side: int) -> None:
    """Writes what a family has besides networks: tokenizers, schedulers, indices and the feature extractor.

    vision_side: pixels a side of the pictures that the image encoder sees.
    """
    for name in ("tokenizer", "tokenizer_2"):
        write_tokenizer(path / "image" / name)
    extractor = {
        **FEATURE_EXTRACTOR,
        "crop_size": {"height": vision_side, "width": vision_side},
        "size": {"shortest_edge": vision_side},
    }
    _write_json(path / "image" / "model_index.json", _IMAGE_INDEX)
    _write_json(path / "image" / "scheduler" / "scheduler_config.json", DDIM_SCHEDULER)
    _write_json(path / "video" / "model_index.json", _VIDEO_INDEX)
    _write_json(path / "video" / "scheduler" / "scheduler_config.json", EDM_SCHEDULER)
    _write_json(path / "video" / "feature_extractor" / "preprocessor_config.json", extractor)


def write_random_family(path: Path, seed: int) -> None:
    """An untrained family, in layout and sizes as the shipped one; same seed, same bytes."""
    write_family(path, random_family(seed))


def write_tokenizer(path: Path) -> None:
    """The files of a transformers CLIPTokenizer of the toy world's words."""
    vocab, merges = tokenizer_files()
    path.mkdir(parents=True, exist_ok=True)
    _write_json(path / "vocab.json", vocab)
    (path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    _write_json(path / "special_tokens_map.json", special)
    _write_json(
        path / "tokenizer_config.json",
        {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": MAX_TOKENS,
            "do_lower_case": True,
            **special,
        },
    )


def _save_half(network: Any, folder: Path) -> None:
    staging = folder.with_name(folder.name + ".staging")
    shutil.rmtree(staging, ignore_errors=True)
    copy.deepcopy(network).half().save_pretrained(staging, safe_serialization=True)
    shutil.rmtree(folder, ignore_errors=True)
    staging.rename(folder)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
