"""The video network run fast: copies of features as tensor operations on the layers of `i2v3d.models.fast`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import torch
from torch import Tensor

from i2v3d.diffusion import edm
from i2v3d.errors import LayerError
from i2v3d.guidance.branches import Steering
from i2v3d.guidance.injection import FeatureCopy, InjectionPlan
from i2v3d.guidance.masks import LayerMask
from i2v3d.models.fast import ops, usable
from i2v3d.models.fast.signals import Size, Unguided
from i2v3d.models.fast.video import FastVideoNetwork, Replaced
from i2v3d.models.svd import VideoModels
from i2v3d.models.svd_denoiser import ClipCondition, ClipDenoiser

_UP_BLOCK = re.compile(r"up_blocks\.(\d+)\.resnets\.(\d+)")


def clip_denoiser(models: VideoModels, control_scale: float, *, fast: bool) -> ClipDenoiser:
    """The network of `models`, run fast if asked and possible."""
    kind = FastClipDenoiser if fast and usable(models.device, models.dtype) else ClipDenoiser
    return kind(models.unet, models.controlnet, control_scale)


@dataclass(frozen=True)
class FastClipDenoiser(ClipDenoiser):
    """A `ClipDenoiser` that computes the same faster, a `SteeredNetwork`.

    See `FastVideoNetwork` for what it does to the networks.
    """

    network: FastVideoNetwork = field(init=False)

    def __post_init__(self) -> None:
        controlnet = self.controlnet if self.control_scale else None
        object.__setattr__(self, "network", FastVideoNetwork(self.unet, controlnet, self.control_scale))

    def __call__(self, x: Tensor, level: float, condition: ClipCondition) -> Tensor:
        velocity = self.network(*self.network_arguments(x, level, condition))
        return edm.denoised_from_velocity(velocity.float(), x, level)

    def steered(self, x: Tensor, level: float, condition: ClipCondition, steering: Steering) -> Tensor:
        """The denoised latents of all clips but the source's."""
        assert steering.attention is None, "clips have no extended attention"
        plan = steering.injection
        source = len(x) // plan.branches
        arguments = self.network_arguments(x, level, condition)
        velocity = self.network(*arguments, CopiedAttention(plan), replaced_block(plan, source))
        return edm.denoised_from_velocity(velocity[source:].float(), x[source:], level)


class CopiedAttention(Unguided):
    """Queries and keys of the source branch in the other branches, where a plan's masks are set."""

    def __init__(self, plan: InjectionPlan) -> None:
        self._branches = plan.branches
        self._masks: dict[str, LayerMask | None] = {
            name: copy.mask for copy in plan.copies if copy.kind == "query_key" for name in copy.names
        }

    def attend(self, name: str, qkv: Tensor, heads: int, size: Size) -> Tensor:
        if name in self._masks:
            mask, items = self._masks[name], len(qkv) // self._branches
            chosen = None if mask is None else mask.tokens(*size)
            query_key = qkv[..., : qkv.shape[-1] // 3 * 2]
            ops.copy_where(query_key, torch.arange(items, device=qkv.device), chosen, items)
        return ops.self_attention(qkv, heads)


def replaced_block(plan: InjectionPlan, source: int) -> Replaced | None:
    """The last of the blocks whose whole output the plan copies; before it the others' features are not needed.

    source: clips of the source branch. Raises LayerError for blocks that are no residual blocks of the decoder.
    """
    names = [name for copy in plan.copies if copy.kind == "output" for name in _everywhere(copy)]
    found = [_UP_BLOCK.fullmatch(name) for name in names]
    for name, match in zip(names, found, strict=True):
        if match is None:
            raise LayerError(
                f"models.video.layers.block names '{name}'; fast sampling copies the outputs of "
                "up_blocks.*.resnets.* only, set runtime.perf=plain"
            )
    places = [(int(match[1]), int(match[2])) for match in found if match]
    return Replaced(*max(places), source) if places else None


def _everywhere(copy: FeatureCopy) -> tuple[str, ...]:
    assert copy.mask is None, "blocks are copied everywhere"
    return copy.names
