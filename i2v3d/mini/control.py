"""How ControlNets of the miniature start."""

from __future__ import annotations

from typing import Any

import torch


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
