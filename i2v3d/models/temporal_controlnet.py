"""A ControlNet for the spatio-temporal UNet, and the UNet run with its residuals.

Parameter names and configuration fields are those of the published temporal depth ControlNet for Stable
Video Diffusion, so its checkpoint loads with `TemporalControlNet.from_pretrained`.
Shapes: B clips, F frames, C channels, (h, w) latent size, (H, W) pixel size, D width of the image embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_3d_blocks import UNetMidBlockSpatioTemporal, get_down_block
from torch import Tensor, nn
from torch.nn import functional

from i2v3d.errors import ShapeError

Residuals = tuple[tuple[Tensor, ...], Tensor]


class ConditioningEmbedding(nn.Module):
    """Image-space condition (N, 3, H, W) -> features (N, out_channels, h, w) to add after `conv_in`.

    Every entry of `channels` after the first halves the size, so a VAE of factor 2^k needs k + 1 entries.
    The last convolution starts at zero. Source: ControlNet (Zhang et al., ICCV 2023).
    """

    def __init__(self, out_channels: int, condition_channels: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(condition_channels, channels[0], kernel_size=3, padding=1)
        self.blocks = nn.ModuleList()
        for narrow, wide in pairwise(channels):
            self.blocks.append(nn.Conv2d(narrow, narrow, kernel_size=3, padding=1))
            self.blocks.append(nn.Conv2d(narrow, wide, kernel_size=3, padding=1, stride=2))
        self.conv_out = _zeroed(nn.Conv2d(channels[-1], out_channels, kernel_size=3, padding=1))

    def forward(self, condition: Tensor) -> Tensor:
        features = functional.silu(self.conv_in(condition))
        for block in self.blocks:
            features = functional.silu(block(features))
        embedded: Tensor = self.conv_out(features)
        return embedded


class TemporalControlNet(ModelMixin, ConfigMixin):
    """The encoder half of a spatio-temporal UNet whose features become residuals for that UNet.

    `conditioning_embedding_out_channels` decides the down-scale of the condition (see
    `ConditioningEmbedding`); the other fields mean what they mean in the UNet's own configuration, and the
    default values are the published architecture's. `up_block_types`, `out_channels`, `num_frames` and
    `sample_size` describe the UNet it belongs to and build nothing here.

    cumulative_residuals: the code that trained and ran the published checkpoint adds all residuals known so
    far after each down block, so those of block b (and, with b = 0, of conv_in) of n count n - b times. The
    weights expect it; False is for a ControlNet trained with every residual added once.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        sample_size: int | None = None,
        in_channels: int = 8,
        out_channels: int = 4,
        down_block_types: tuple[str, ...] = (
            *("CrossAttnDownBlockSpatioTemporal",) * 3,
            "DownBlockSpatioTemporal",
        ),
        up_block_types: tuple[str, ...] = (
            "UpBlockSpatioTemporal",
            *("CrossAttnUpBlockSpatioTemporal",) * 3,
        ),
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        addition_time_embed_dim: int = 256,
        projection_class_embeddings_input_dim: int = 768,
        layers_per_block: int | tuple[int, ...] = 2,
        cross_attention_dim: int | tuple[int, ...] = 1024,
        transformer_layers_per_block: int | tuple[int, ...] = 1,
        num_attention_heads: int | tuple[int, ...] = (5, 10, 20, 20),
        num_frames: int = 25,
        conditioning_channels: int = 3,
        conditioning_embedding_out_channels: tuple[int, ...] = (16, 32, 96, 256),
        cumulative_residuals: bool = True,
    ) -> None:
        super().__init__()
        blocks = len(down_block_types)
        layers = _per_block(layers_per_block, blocks, "layers_per_block")
        widths = _per_block(block_out_channels, blocks, "block_out_channels")
        heads = _per_block(num_attention_heads, blocks, "num_attention_heads")
        context = _per_block(cross_attention_dim, blocks, "cross_attention_dim")
        depths = _per_block(transformer_layers_per_block, blocks, "transformer_layers_per_block")
        time_channels = 4 * widths[0]

        self.conv_in = nn.Conv2d(in_channels, widths[0], kernel_size=3, padding=1)
        self.time_proj = Timesteps(widths[0], True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(widths[0], time_channels)
        self.add_time_proj = Timesteps(addition_time_embed_dim, True, downscale_freq_shift=0)
        self.add_embedding = TimestepEmbedding(projection_class_embeddings_input_dim, time_channels)
        self.controlnet_cond_embedding = ConditioningEmbedding(
            widths[0], conditioning_channels, conditioning_embedding_out_channels
        )
        self.down_blocks = nn.ModuleList()
        self.controlnet_down_blocks = nn.ModuleList([_zero_conv(widths[0])])
        self.residual_gains = [blocks if cumulative_residuals else 1]
        for i, kind in enumerate(down_block_types):
            last = i == blocks - 1
            block = get_down_block(
                kind,
                num_layers=layers[i],
                transformer_layers_per_block=depths[i],
                in_channels=widths[max(i - 1, 0)],
                out_channels=widths[i],
                temb_channels=time_channels,
                add_downsample=not last,
                resnet_eps=1e-5,
                resnet_act_fn="silu",
                cross_attention_dim=context[i],
                num_attention_heads=heads[i],
            )
            self.down_blocks.append(block)
            skips = layers[i] + (0 if last else 1)
            self.controlnet_down_blocks.extend(_zero_conv(widths[i]) for _ in range(skips))
            self.residual_gains += [blocks - i if cumulative_residuals else 1] * skips
        self.controlnet_mid_block = _zero_conv(widths[-1])
        self.mid_block = UNetMidBlockSpatioTemporal(
            widths[-1],
            temb_channels=time_channels,
            transformer_layers_per_block=depths[-1],
            cross_attention_dim=context[-1],
            num_attention_heads=heads[-1],
        )

    @classmethod
    def from_unet(cls, unet: Any, conditioning_embedding_out_channels: tuple[int, ...]) -> TemporalControlNet:
        """A ControlNet of the UNet's architecture that starts from the UNet's encoder weights.

        Its residuals are zero until it is trained. Source: ControlNet, section on zero convolutions.
        """
        known = cls._get_init_keys(cls)
        fields = {name: value for name, value in unet.config.items() if name in known}
        fields["conditioning_embedding_out_channels"] = conditioning_embedding_out_channels
        controlnet: TemporalControlNet = cls.from_config(fields)
        for name in ("conv_in", "time_embedding", "add_embedding", "down_blocks", "mid_block"):
            getattr(controlnet, name).load_state_dict(getattr(unet, name).state_dict())
        return controlnet

    def embed_condition(self, controlnet_cond: Tensor) -> Tensor:
        """The condition (B, F, 3, H, W) as features (B, F, C, h, w); the same at every sampling step."""
        frames = controlnet_cond.shape[:2]
        embedded: Tensor = self.controlnet_cond_embedding(controlnet_cond.flatten(0, 1))
        return embedded.unflatten(0, frames)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        added_time_ids: Tensor,
        controlnet_cond: Tensor,
        conditioning_scale: float = 1.0,
        *,
        embedded: bool = False,
    ) -> Residuals:
        """Residuals (down, mid) for the UNet's skip connections and its middle, each (B * F, C_i, h_i, w_i).

        sample: (B, F, C, h, w) scaled network input; timestep: scalar or (B,); encoder_hidden_states:
        (B, 1, D); added_time_ids: (B, 3); controlnet_cond: (B, F, 3, H, W), or with `embedded` the result
        of `embed_condition`. Raises ShapeError if condition and sample do not meet at one size.
        """
        features = controlnet_cond if embedded else self.embed_condition(controlnet_cond)
        if features.shape[:2] != sample.shape[:2] or features.shape[-2:] != sample.shape[-2:]:
            entries = len(self.config.conditioning_embedding_out_channels)
            raise ShapeError(
                f"the ControlNet's condition becomes {tuple(features.shape)}, the sample is "
                f"{tuple(sample.shape)}: clips, frames, height and width must agree; its conditioning "
                f"embedding scales down by {2 ** (entries - 1)}, which must be the factor of the VAE"
            )
        encoded = _encode(self, sample, timestep, encoder_hidden_states, added_time_ids, features)
        down = tuple(
            conv(skip) * (gain * conditioning_scale)
            for conv, gain, skip in zip(
                self.controlnet_down_blocks, self.residual_gains, encoded.skips, strict=True
            )
        )
        return down, self.controlnet_mid_block(encoded.middle) * conditioning_scale


def denoise_with_residuals(
    unet: Any,
    sample: Tensor,
    timestep: Tensor | float,
    encoder_hidden_states: Tensor,
    added_time_ids: Tensor,
    residuals: Residuals | None,
) -> Tensor:
    """Output (B, F, C_out, h, w) of a diffusers `UNetSpatioTemporalConditionModel` with residuals added.

    The residuals of `TemporalControlNet` are added to the skip connections and to the middle block's
    output; None runs the bare UNet. Only modules are called, so forward hooks on any layer take effect.
    """
    encoded = _encode(unet, sample, timestep, encoder_hidden_states, added_time_ids, None)
    skips, hidden = list(encoded.skips), encoded.middle
    if residuals is not None:
        down, middle = residuals
        skips = [skip + residual for skip, residual in zip(skips, down, strict=True)]
        hidden = hidden + middle
    for block in unet.up_blocks:
        taken = len(block.resnets)
        skips, block_skips = skips[:-taken], skips[-taken:]
        hidden = block(
            hidden_states=hidden,
            res_hidden_states_tuple=tuple(block_skips),
            # Odd sizes: the next skip connection says how large the upsampled features must be.
            upsample_size=tuple(skips[-1].shape[-2:]) if skips else None,
            **encoded.arguments(block),
        )
    output: Tensor = unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden)))
    return output.unflatten(0, sample.shape[:2])


@dataclass(frozen=True)
class _Encoded:
    """What the encoder half leaves for the decoder half: skips and middle (B * F, C_i, h_i, w_i)."""

    skips: tuple[Tensor, ...]
    middle: Tensor
    time: Tensor
    context: Tensor
    image_only: Tensor

    def arguments(self, block: nn.Module) -> dict[str, Tensor]:
        return _block_arguments(block, self.time, self.context, self.image_only)


def _encode(
    net: Any,
    sample: Tensor,
    timestep: Tensor | float,
    context: Tensor,
    added_time_ids: Tensor,
    added_features: Tensor | None,
) -> _Encoded:
    """The encoder half of `net` (a UNet or a ControlNet); `added_features` join after conv_in."""
    clips, frames = sample.shape[:2]
    time = time_embedding(net, sample, timestep, added_time_ids).repeat_interleave(frames, dim=0)
    context = context.repeat_interleave(frames, dim=0)
    image_only = torch.zeros(clips, frames, dtype=sample.dtype, device=sample.device)
    hidden = net.conv_in(sample.flatten(0, 1))
    if added_features is not None:
        hidden = hidden + added_features.flatten(0, 1)
    skips: tuple[Tensor, ...] = (hidden,)
    for block in net.down_blocks:
        hidden, block_skips = block(
            hidden_states=hidden, **_block_arguments(block, time, context, image_only)
        )
        skips += block_skips
    middle = net.mid_block(hidden_states=hidden, **_block_arguments(net.mid_block, time, context, image_only))
    return _Encoded(skips, middle, time, context, image_only)


def time_embedding(net: Any, sample: Tensor, timestep: Tensor | float, added_time_ids: Tensor) -> Tensor:
    """(B, T): the sinusoidal embedding of the timestep plus that of the added time ids."""
    clips = sample.shape[0]
    # The sinusoids are float32 whatever the network's precision is.
    if isinstance(timestep, Tensor):
        steps = timestep.to(sample.device, torch.float32).expand(clips)
    else:  # filled on the device: no copy that the host would wait for
        steps = torch.full((clips,), timestep, dtype=torch.float32, device=sample.device)
    embedded: Tensor = net.time_embedding(net.time_proj(steps).to(sample.dtype))
    ids = net.add_time_proj(added_time_ids.flatten()).reshape(clips, -1).to(sample.dtype)
    return embedded + net.add_embedding(ids)


def _block_arguments(
    block: nn.Module, time: Tensor, context: Tensor, image_only: Tensor
) -> dict[str, Tensor]:
    """Keyword arguments of one block: those with cross-attention also take the image embedding."""
    arguments = {"temb": time, "image_only_indicator": image_only}
    if getattr(block, "has_cross_attention", False):
        arguments["encoder_hidden_states"] = context
    return arguments


def _per_block(value: int | Sequence[int], blocks: int, name: str) -> list[int]:
    """One number for each block. Raises ShapeError if a sequence has another length."""
    values = [value] * blocks if isinstance(value, int) else list(value)
    if len(values) != blocks:
        raise ShapeError(
            f"the temporal ControlNet's {name} has {len(values)} entries for {blocks} down blocks; "
            "correct its config.json"
        )
    return values


def _zeroed(module: nn.Conv2d) -> nn.Conv2d:
    """The convolution with weights and bias set to zero."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def _zero_conv(channels: int) -> nn.Conv2d:
    """A 1x1 convolution that starts at zero."""
    return _zeroed(nn.Conv2d(channels, channels, kernel_size=1))
