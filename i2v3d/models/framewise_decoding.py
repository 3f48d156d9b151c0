"""SVD's temporal decoder with little memory: what does not couple frames runs frame by frame, the rest in place.

The same operations as diffusers' `TemporalDecoder`, whose largest features (256 channels of all frames at full size,
several times over) are never there at once. Shapes: F frames, C channels, (H, W) size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from i2v3d.models.fast.signals import temporal_share

Step = Callable[[Tensor], Tensor]


@torch.no_grad()
def decode_framewise(vae: Any, latents: Tensor) -> Tensor:
    """Pixels (F, 3, H, W) of unscaled latents (F, C, h, w) that are one clip for the decoder."""
    decoder = vae.decoder
    waiting: list[Step] = [decoder.conv_in]  # what is to be done to every frame before frames are mixed again
    x = latents
    for block in (decoder.mid_block, *decoder.up_blocks):
        attentions = [None, *getattr(block, "attentions", ())]
        for i, resnet in enumerate(block.resnets):
            if i < len(attentions) and attentions[i] is not None:
                waiting.append(attentions[i])
            x = _each_frame(x, [*waiting, _spatial(resnet)])
            waiting = []
            _mix_frames(x, resnet)
        waiting += list(getattr(block, "upsamplers", None) or ())
    x = _each_frame(x, [*waiting, decoder.conv_norm_out, functional.silu, decoder.conv_out])
    pixels: Tensor = decoder.time_conv_out(x.transpose(0, 1)[None])[0].transpose(0, 1)
    return pixels


def _spatial(resnet: Any) -> Step:
    """A residual block over places; the autoencoder's have no embedding of time."""
    return lambda x: resnet.spatial_res_block(x, None)


def _each_frame(x: Tensor, steps: Sequence[Step]) -> Tensor:
    """The steps one after the other on each frame alone."""
    result = torch.empty(0)
    for number, frame in enumerate(x.split(1)):
        for step in steps:
            frame = step(frame)
        if number == 0:
            result = frame.new_empty(len(x), *frame.shape[1:])
        result[number] = frame[0]
    return result


def _mix_frames(x: Tensor, resnet: Any) -> None:
    """The residual block over frames of a `SpatioTemporalResBlock`, and its mix with x (F, C, H, W), in place of x."""
    block, mixer = resnet.temporal_res_block, resnet.time_mixer
    assert block.time_emb_proj is None, "a decoder's block"
    assert block.conv_shortcut is None, "a decoder's block"
    h = torch.empty_like(x)
    _normed(x, block.norm1, h)
    _convolve(h, block.conv1)
    _normed(h, block.norm2, h)
    _convolve(h, block.conv2)
    h += x
    share = temporal_share(mixer)
    x.mul_(1 - share).add_(h.mul_(share))


def _normed(x: Tensor, norm: Any, out: Tensor) -> None:
    """SiLU of the group norm over all frames of x (F, C, H, W); out may be x."""
    groups = x.unflatten(1, (norm.num_groups, -1))
    variance, mean = torch.var_mean(groups, dim=(0, 2, 3, 4), correction=0)
    scale = norm.weight.unflatten(0, (norm.num_groups, -1)) * (variance + norm.eps).rsqrt()[:, None]
    shift = norm.bias - (mean[:, None] * scale).flatten()
    torch.addcmul(shift[:, None, None], x, scale.flatten()[:, None, None], out=out)
    functional.silu(out, inplace=True)


def _convolve(x: Tensor, layer: Any) -> None:
    """A convolution of three taps along the frames in place of x (F, C, H, W): a product a tap and frame."""
    taps, places = layer.weight.detach().flatten(2).unbind(2), x.flatten(2)
    assert len(taps) == 3, "a decoder's convolution along the frames"
    before: Tensor | None = None
    for number, frame in enumerate(places):
        mixed = torch.addmm(layer.bias.detach()[:, None], taps[1], frame)
        if before is not None:
            mixed.addmm_(taps[0], before)
        if number + 1 < len(places):
            mixed.addmm_(taps[2], places[number + 1])
        before = frame.clone()
        frame.copy_(mixed)
