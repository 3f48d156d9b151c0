"""The networks and inputs of the recording, drawn again from its seeds, and the recorded numbers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel, UNetSpatioTemporalConditionModel
from torch import Tensor, nn

from i2v3d.models.sdxl import ImageDenoiser, PromptEmbedding, take_depth_embedding
from i2v3d.models.svd_denoiser import ClipDenoiser
from i2v3d.models.temporal_controlnet import TemporalControlNet

HERE = Path(__file__).parent
CONFIGS: dict[str, Any] = json.loads((HERE / "networks.json").read_text())


def recorded(name: str) -> dict[str, Tensor]:
    """The recorded arrays of a set."""
    with np.load(HERE / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def _recorded_precision(network: nn.Module, name: str) -> nn.Module:
    """The network with its weights rounded to half precision, as for the recording.

    Fails if this version of torch or diffusers draws other weights, since nothing could then be compared.
    """
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        rounded = tensor.half()
        digest.update(key.encode() + rounded.numpy().tobytes())
        tensor.copy_(rounded)
    expected = CONFIGS["sha256"][name]
    assert digest.hexdigest() == expected, f"{name} is not drawn as recorded; see tests/parity/README.md"
    return network.eval().requires_grad_(False)


def _fill_zeros(*modules: nn.Module) -> None:
    """Draws the layers that a ControlNet starts at zero, in their order."""
    for module in modules:
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.05)


@torch.no_grad()
def image_network() -> tuple[ImageDenoiser, nn.Module]:
    """The image networks, and the ControlNet's embedding of depth."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        unet = UNet2DConditionModel.from_config(CONFIGS["sdxl"]["unet"])
        net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16, 16, 16))
        _fill_zeros(
            net.controlnet_cond_embedding.conv_out, net.controlnet_down_blocks, net.controlnet_mid_block
        )
    unet = _recorded_precision(unet, "sdxl_unet")
    net = _recorded_precision(net, "sdxl_controlnet")
    embedding = take_depth_embedding(net)
    return ImageDenoiser(unet, net, torch.float32), embedding


@torch.no_grad()
def video_network() -> ClipDenoiser:
    """The video networks."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12)
        unet = UNetSpatioTemporalConditionModel.from_config(CONFIGS["svd"]["unet"])
        net = TemporalControlNet.from_config(CONFIGS["svd"]["controlnet"])
        _fill_zeros(
            net.controlnet_down_blocks, net.controlnet_cond_embedding.conv_out, net.controlnet_mid_block
        )
    return ClipDenoiser(
        _recorded_precision(unet, "svd_unet"), _recorded_precision(net, "svd_controlnet"), control_scale=1.0
    )


@dataclass(frozen=True)
class Keyframes:
    """clean: latents (3, 4, 72, 128). depth: (3, 576, 1024) in [0, 1]. empty, negative, positive: prompts, one row."""

    clean: Tensor
    depth: Tensor
    empty: PromptEmbedding
    negative: PromptEmbedding
    positive: PromptEmbedding


def keyframe_inputs() -> Keyframes:
    """What the keyframes were made of."""
    generator = torch.Generator().manual_seed(21)
    clean = 0.8 * torch.randn(3, 4, 72, 128, generator=generator)
    depth = torch.rand(3, 576, 1024, generator=generator).half().float()
    prompts = [
        PromptEmbedding(torch.randn(1, 77, 32, generator=generator), torch.randn(1, 32, generator=generator))
        for _ in range(3)
    ]
    return Keyframes(clean, depth, *prompts)


def clip_inputs() -> tuple[Tensor, Tensor]:
    """Clean latents (5, 4, 16, 24) and depth (5, 3, 128, 192) in [-1, 1] of the coarse clip."""
    generator = torch.Generator().manual_seed(22)
    clean = 0.9 * torch.randn(5, 4, 16, 24, generator=generator)
    return clean, 2 * torch.rand(5, 3, 128, 192, generator=generator) - 1
