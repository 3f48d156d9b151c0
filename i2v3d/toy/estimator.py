"""Estimates from one picture of the toy world: planar depth, the object's mask, and who the object is.

They judge generated pictures, of which no depth, mask or identity is known otherwise. The networks are small
and know the toy world alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from i2v3d.errors import ShapeError, WeightsError
from i2v3d.models.object_crops import mask_boxes, object_crops

ESTIMATOR_CONFIG: dict[str, Any] = {
    "channels": (16, 32, 48, 64),
    "crop_channels": (16, 32, 48, 64),
    "embedding": 64,
    "crop": 64,
}
GROUPS = 8  # of every group normalisation
TYPICAL_DEPTH_LOG = 1.4  # log of about 4 m, where the estimates start from
_BATCH = 32


class Estimate(NamedTuple):
    """log_depth (N, 1, H, W): natural logarithm of the planar depth in metres; mask (N, 1, H, W): logits of
    'this pixel shows the object'."""

    log_depth: Tensor
    mask: Tensor


class ResidualBlock(nn.Module):
    """A 5x5 convolution of every channel by itself, then two 1x1 ones; stride 2 halves the size.

    Most of a block's weights are in its 1x1 convolutions, which keeps the networks small.
    Source: Liu et al. 2022, ConvNeXt.
    """

    def __init__(self, narrow: int, wide: int, stride: int = 1) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, narrow)
        self.spread = nn.Conv2d(narrow, narrow, 5, stride, padding=2, groups=narrow)
        self.widen, self.narrow = nn.Conv2d(narrow, 2 * wide, 1), nn.Conv2d(2 * wide, wide, 1)
        same = narrow == wide and stride == 1
        self.skip = nn.Identity() if same else nn.Conv2d(narrow, wide, 1, stride)

    def forward(self, features: Tensor) -> Tensor:
        """(N, narrow, h, w) to (N, wide, h / stride, w / stride)."""
        inner = self.widen(self.spread(self.norm(features)))
        summed: Tensor = self.skip(features) + self.narrow(functional.silu(inner))
        return summed


class EstimatorNetwork(ModelMixin, ConfigMixin):
    """A UNet for depth and mask, and a separate encoder of object crops.

    channels: widths of the UNet, the first at half the picture's size, each further one at half the size
    before; crop_channels: widths of the crop's encoder, likewise; embedding: its output's width; crop: side
    of a crop in pixels.
    """

    @register_to_config
    def __init__(
        self, channels: Sequence[int], crop_channels: Sequence[int], embedding: int, crop: int
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(12, channels[0], 3, padding=1)
        self.first = ResidualBlock(channels[0], channels[0])
        steps = list(pairwise(channels))
        self.down = nn.ModuleList(
            nn.Sequential(ResidualBlock(narrow, wide, 2), ResidualBlock(wide, wide)) for narrow, wide in steps
        )
        self.everywhere = nn.Linear(channels[-1], channels[-1])
        self.middle = ResidualBlock(channels[-1], channels[-1])
        self.up = nn.ModuleList(ResidualBlock(narrow + wide, narrow) for narrow, wide in reversed(steps))
        self.norm_out = nn.GroupNorm(GROUPS, channels[0])
        self.conv_out = nn.Conv2d(channels[0], 8, 3, padding=1)
        self.crop_in = nn.Conv2d(3, crop_channels[0], 3, 2, padding=1)
        self.crop_down = nn.Sequential(
            *(ResidualBlock(narrow, wide, 2) for narrow, wide in pairwise(crop_channels))
        )
        self.crop_norm = nn.GroupNorm(GROUPS, crop_channels[-1])
        self.crop_out = nn.Linear(crop_channels[-1], embedding)

    def forward(self, pictures: Tensor) -> Estimate:
        """Depth and mask of pictures (N, 3, H, W) in [-1, 1]; sizes must be multiples of `factor`."""
        features = self.first(self.conv_in(functional.pixel_unshuffle(pictures, 2)))
        kept = []
        for block in self.down:
            kept.append(features)
            features = block(features)
        # Metric depth and what counts as the object depend on the whole picture.
        features = features + self.everywhere(features.mean((2, 3)))[:, :, None, None]
        features = self.middle(features)
        for block in self.up:
            features = functional.interpolate(features, scale_factor=2.0, mode="nearest")
            features = block(torch.cat([features, kept.pop()], dim=1))
        out = functional.pixel_shuffle(self.conv_out(functional.silu(self.norm_out(features))), 2).float()
        return Estimate(out[:, :1] + TYPICAL_DEPTH_LOG, out[:, 1:])

    def embed(self, crops: Tensor) -> Tensor:
        """Unit vectors (N, embedding) of `object_crops` (N, 3, crop, crop)."""
        features = functional.silu(self.crop_norm(self.crop_down(self.crop_in(crops))))
        return functional.normalize(self.crop_out(features.mean((2, 3))).float(), dim=-1)

    @property
    def factor(self) -> int:
        """What the sizes of pictures must be multiples of."""
        return 2 ** len(self.config.channels)


def estimator_network() -> EstimatorNetwork:
    """An untrained network of ESTIMATOR_CONFIG."""
    return EstimatorNetwork(**ESTIMATOR_CONFIG)


class ToyEstimator:
    """Trained networks that read pictures (N, 3, H, W) in [0, 1], on their device, in float32.

    All methods raise ShapeError if shape, size or range of the pictures is wrong.
    """

    def __init__(self, network: EstimatorNetwork) -> None:
        self.network = network.float().eval().requires_grad_(False)

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> ToyEstimator:
        """Reads a folder of the family: config.json and safetensors.

        Raises WeightsError if the folder is missing, corrupt, or of another architecture.
        """
        if not (folder / "config.json").is_file():
            raise WeightsError(
                f"{folder} holds no estimator (config.json is missing); restore it or train it again"
            )
        try:
            network, report = EstimatorNetwork.from_pretrained(
                folder,
                torch_dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                low_cpu_mem_usage=False,
                output_loading_info=True,
            )
        except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise WeightsError(f"{folder} is no estimator: {first}; restore it or train it again") from error
        wrong = sorted([*report["missing_keys"], *report["mismatched_keys"]], key=str)
        if wrong:
            raise WeightsError(f"{folder} is no estimator of its own config: lacks {wrong[0]}; restore it")
        return cls(network.to(device))

    def depth(self, pictures: Tensor) -> Tensor:
        """Planar depth in metres, (N, 1, H, W); the sky is as far as the training's `far_m`."""
        return torch.cat([estimate.log_depth.exp() for estimate in self._estimates(pictures)])

    def mask(self, pictures: Tensor) -> Tensor:
        """Probability in [0, 1] that a pixel shows the object, (N, 1, H, W)."""
        return torch.cat([estimate.mask.sigmoid() for estimate in self._estimates(pictures)])

    @torch.no_grad()
    def embedding(self, pictures: Tensor, masks: Tensor) -> Tensor:
        """Unit vectors (N, width): the larger the dot product, the likelier two pictures show one object.

        masks (N, 1, H, W) in [0, 1]: where the object is. Take `mask` for pictures whose truth is unknown:
        a true mask has the true object's outline and so gives part of the answer away. Raises ShapeError for
        a mask without any pixel.
        """
        self._check(pictures)
        if masks.shape != (len(pictures), 1, *pictures.shape[-2:]):
            raise ShapeError(
                f"masks are {tuple(masks.shape)} but pictures {tuple(pictures.shape)}; pass (N, 1, H, W)"
            )
        empty = (masks.flatten(1).amax(1) <= 0.5).nonzero().flatten().tolist()
        if empty:
            raise ShapeError(f"masks {empty} show no object, so there is nothing to compare; leave them out")
        masks = masks.to(pictures)
        crops = object_crops(pictures * 2 - 1, masks, mask_boxes(masks), self.network.config.crop)
        return torch.cat([self.network.embed(part) for part in crops.split(_BATCH)])

    @torch.no_grad()
    def _estimates(self, pictures: Tensor) -> list[Estimate]:
        self._check(pictures)
        parts: list[Any] = [self.network(part * 2 - 1) for part in pictures.split(_BATCH)]
        return parts

    def _check(self, pictures: Tensor) -> None:
        factor = self.network.factor
        if pictures.dim() != 4 or pictures.shape[1] != 3 or len(pictures) == 0:
            raise ShapeError(f"pictures are {tuple(pictures.shape)}; an estimator reads (N, 3, H, W), N >= 1")
        if pictures.shape[2] % factor or pictures.shape[3] % factor:
            raise ShapeError(
                f"pictures are {pictures.shape[3]}x{pictures.shape[2]}; width and height must be multiples "
                f"of {factor}"
            )
        low, high = (float(value) for value in torch.aminmax(pictures))
        if not (low >= -1e-3 and high <= 1 + 1e-3):
            raise ShapeError(f"pictures range over [{low:g}, {high:g}] but must lie in [0, 1], without NaN")
