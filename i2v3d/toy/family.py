"""The miniature SDXL + SVD family on disk, in the published layout (`i2v3d.models.layout`), and with it

<family>/estimator/         EstimatorNetwork (depth, mask and identity of pictures, for scores)
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder
from torch import nn

from i2v3d.errors import WeightsError
from i2v3d.models.layout import write_configs
from i2v3d.toy.architectures import COMPONENTS, VISION_SIDE
from i2v3d.toy.tokenizer import write_tokenizer

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
    write_configs(path, VISION_SIDE, write_tokenizer)


def write_random_family(path: Path, seed: int) -> None:
    """An untrained family, in layout and sizes as the shipped one; same seed, same bytes."""
    write_family(path, random_family(seed))


def _save_half(network: Any, folder: Path) -> None:
    staging = folder.with_name(folder.name + ".staging")
    shutil.rmtree(staging, ignore_errors=True)
    copy.deepcopy(network).half().save_pretrained(staging, safe_serialization=True)
    shutil.rmtree(folder, ignore_errors=True)
    staging.rename(folder)
