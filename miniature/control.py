"""How models with a ControlNet start: fresh, or from an earlier run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from miniature.guided_settings import GuidedImageSettings, GuidedVideoSettings
from miniature.loop import Run, load_half
from miniature.settings import ImageSettings, VideoSettings

ControlledSettings = ImageSettings | GuidedImageSettings | VideoSettings | GuidedVideoSettings


def start_networks(
    networks: Mapping[str, Any], unet: str, controlnet: str, settings: ControlledSettings, run: Run
) -> None:
    """Fresh networks, or those of an earlier run if the settings say so; moves them to the device.

    networks: by the names of their weight files; unet, controlnet: the names of the two that
    `start_control` joins. Raises WeightsError if a file is missing or does not fit.
    """
    if settings.fresh:
        start_control(networks[controlnet], networks[unet], settings.control.init)
    else:
        for name, network in networks.items():
            load_half(network, run.weights / f"{name}.safetensors")
    for network in networks.values():
        network.to(run.device)


@torch.no_grad()
def start_control(controlnet: Any, unet: Any, gain: float) -> None:
    """Starts a ControlNet as a copy of the UNet's encoder with *non-zero* control convolutions.

    gain: standard deviation of a control convolution's output for unit input. With the usual zero start, a
    short training never learnt to use depth (measured: no effect after 280 thousand samples).
    """
    own = controlnet.state_dict()
    shared = {name: value for name, value in unet.state_dict().items() if name in own}
    controlnet.load_state_dict(shared, strict=False)
    for convolution in (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block):
        convolution.weight.normal_(0, gain / convolution.weight.shape[1] ** 0.5)
    last = controlnet.controlnet_cond_embedding.conv_out
    last.weight.normal_(0, 1 / (last.weight.shape[1] * 9) ** 0.5)
