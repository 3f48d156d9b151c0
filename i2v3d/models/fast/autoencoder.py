"""Encoders and decoders of diffusers' autoencoders on channels-last features, with norms in one kernel.

They take the places of diffusers' modules in an `AutoencoderKL` or `AutoencoderKLTemporalDecoder` and compute the same
in the same precision. Shapes: N pictures, C channels, (h, w) size of the features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2v3d.models.fast import ops
from i2v3d.models.fast.residual_blocks import ResBlock, SpatioTemporalResBlock
from i2v3d.models.fast.signals import Context, Signals, Size, TimeShifts, Unguided


def quicken(vae: Any, *, decoder: bool = True) -> None:
    """Exchanges the encoder of an autoencoder and, if asked, its decoder.

    Weights are shared and keep their values; their layout in memory changes.
    """
    if not isinstance(vae.encoder, FastEncoder):
        vae.encoder = FastEncoder(vae.encoder)
    if decoder and not isinstance(vae.decoder, FastDecoder):
        vae.decoder = FastDecoder(vae.decoder)


class _Attention:
    """The attention in the middle of an autoencoder: one head over all places of a picture."""

    def __init__(self, layer: Any) -> None:
        assert layer.heads == 1, "an autoencoder's attention has one head"
        assert layer.residual_connection, "an autoencoder's attention adds to what it sees"
        assert layer.rescale_output_factor == 1, "an autoencoder's attention is not scaled"
        self._layer = layer

    def __call__(self, x: Tensor) -> Tensor:
        layer = self._layer
        h = ops.group_norm(x, layer.group_norm)
        query, key, value = (project(h)[:, None] for project in (layer.to_q, layer.to_k, layer.to_v))
        attended = functional.scaled_dot_product_attention(query, key, value)[:, 0]
        total: Tensor = layer.to_out[0](attended).add_(x)
        return total


class _Half(nn.Module):
    """What encoder and decoder have in common: a first convolution, levels, a middle, a last norm and convolution.

    levels: the down or up blocks; samplers: what changes the size behind each.
    """

    def __init__(self, net: Any, levels: Sequence[Any], samplers: Sequence[Any]) -> None:
        super().__init__()
        self.net = net
        self._levels = [
            ([_residual(block) for block in level.resnets], list(behind or ()))
            for level, behind in zip(levels, samplers, strict=True)
        ]
        self._middle = [_residual(block) for block in net.mid_block.resnets]
        self._attentions = [
            None if layer is None else _Attention(layer) for layer in net.mid_block.attentions
        ]
        changes = [sampler.conv for _, behind in self._levels for sampler in behind]
        for layer in (net.conv_in, net.conv_out, *changes):
            ops.channels_last(layer)

    def _stem(self, x: Tensor) -> tuple[Tensor, Size]:
        """(N, C, h, w) -> (N, h * w, C') and (h, w)."""
        size = (x.shape[-2], x.shape[-1])
        h, _ = ops.conv(x.permute(0, 2, 3, 1).flatten(1, 2), size, self.net.conv_in)
        return h.add_(self.net.conv_in.bias), size

    def _through_middle(self, h: Tensor, size: Size, signals: Signals) -> Tensor:
        h = self._middle[0](h, size, signals)
        for attention, block in zip(self._attentions, self._middle[1:], strict=False):
            h = block(h if attention is None else attention(h), size, signals)
        return h

    def _head(self, h: Tensor, size: Size) -> Tensor:
        """(N, h * w, C) -> (N, C', h, w)."""
        h = ops.group_norm(h, self.net.conv_norm_out, silu=True)
        h, _ = ops.conv(h, size, self.net.conv_out)
        return h.add_(self.net.conv_out.bias).unflatten(1, size).permute(0, 3, 1, 2)


class FastEncoder(_Half):
    """diffusers' `Encoder` of an autoencoder."""

    def __init__(self, net: Any) -> None:
        super().__init__(net, net.down_blocks, [level.downsamplers for level in net.down_blocks])

    def forward(self, sample: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) -> moments (N, 2 C, h, w)."""
        signals = _signals(1)
        h, size = self._stem(sample)
        for blocks, samplers in self._levels:
            for block in blocks:
                h = block(h, size, signals)
            for sampler in samplers:
                h, size = _halved(h, size, sampler)
        return self._head(self._through_middle(h, size, signals), size)


class FastDecoder(_Half):
    """diffusers' `Decoder` of an autoencoder, and its `TemporalDecoder`, which mixes frames."""

    def __init__(self, net: Any) -> None:
        super().__init__(net, net.up_blocks, [level.upsamplers for level in net.up_blocks])

    def forward(
        self,
        sample: Tensor,
        latent_embeds: Tensor | None = None,
        image_only_indicator: Tensor | None = None,
        num_frames: int = 1,
    ) -> Tensor:
        """Latents (N, C, h, w) -> pictures (N, 3, H, W); clips of `num_frames` neighbours where frames are mixed.

        latent_embeds, image_only_indicator: as diffusers gives them; neither says anything here.
        """
        assert latent_embeds is None, "an autoencoder with group norms"
        signals = _signals(num_frames)
        h, size = self._stem(sample)
        h = self._through_middle(h, size, signals)
        for blocks, samplers in self._levels:
            for block in blocks:
                h = block(h, size, signals)
            for sampler in samplers:
                target = (2 * size[0], 2 * size[1])
                h, size = ops.conv(ops.upsample(h, size, target), target, sampler.conv)
                h.add_(sampler.conv.bias)
        pictures = self._head(h, size)
        mix = getattr(self.net, "time_conv_out", None)
        if mix is None:
            return pictures
        clips = pictures.unflatten(0, (-1, num_frames)).transpose(1, 2).contiguous()
        mixed: Tensor = mix(clips).transpose(1, 2).flatten(0, 1)
        return mixed


def _residual(block: Any) -> ResBlock | SpatioTemporalResBlock:
    temporal = hasattr(block, "temporal_res_block")
    return (SpatioTemporalResBlock if temporal else ResBlock)(block, "", TimeShifts())


def _signals(frames: int) -> Signals:
    """What residual blocks without an embedding of time are told."""
    nothing = torch.empty(0)
    return Signals(frames, nothing, Context(nothing), Unguided())


def _halved(h: Tensor, size: Size, sampler: Any) -> tuple[Tensor, Size]:
    """A convolution of stride 2 behind a row and a column of zeros at the far ends, as autoencoders were trained."""
    assert sampler.padding == 0, "an autoencoder's change of size"
    rows, columns = size
    padded = functional.pad(h.unflatten(1, size), (0, 0, 0, 1, 0, 1)).flatten(1, 2)
    h, size = ops.conv(padded, (rows + 1, columns + 1), sampler.conv)
    return h.add_(sampler.conv.bias), size
