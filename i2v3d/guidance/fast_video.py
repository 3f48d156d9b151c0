"""The video network run fast: copies of features as tensor operations on the layers of `i2v3d.models.fast`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from i2v3d.diffusion import edm
from i2v3d.errors import LayerError
from i2v3d.guidance.branches import Steering
from i2v3d.guidance.clip_features import ClipFeatures, InjectedAttention, NotedFeatures, SourceMemory
from i2v3d.guidance.injection import FeatureCopy, InjectionPlan
from i2v3d.guidance.masks import LayerMask
from i2v3d.models.fast import ops, usable
from i2v3d.models.fast.signals import Size, Unguided
from i2v3d.models.fast.video import FastVideoNetwork, Replaced
from i2v3d.models.svd import VideoModels
from i2v3d.models.svd_denoiser import ClipCondition, ClipDenoiser

_UP_BLOCK = re.compile(r"up_blocks\.(\d+)\.resnets\.(\d+)")


def clip_denoiser(models: VideoModels, control_scale: float, *, fast: bool, max_batch: int) -> ClipDenoiser:
    """The network of `models`, run fast if asked and possible.

    max_batch: pictures a call (0: no limit), to which fast networks keep in steps that inject, too.
    """
    if not (fast and usable(models.device, models.dtype)):
        networks = (models.unet.to(models.device), models.controlnet.to(models.device))
        return ClipDenoiser(*networks, control_scale)
    denoiser = FastClipDenoiser(models.unet, models.controlnet, control_scale, max_batch)
    if models.memory.streamed:
        denoiser.network.stream_weights(models.device)
    return denoiser


@dataclass(frozen=True)
class FastClipDenoiser(ClipDenoiser):
    """A `ClipDenoiser` that computes the same faster, a `SteeredNetwork`.

    max_batch: pictures a call in steps that inject, but one clip at least; 0 is no limit. See `FastVideoNetwork` for
    what it does to the networks.
    """

    max_batch: int = 0
    network: FastVideoNetwork = field(init=False)
    memory: SourceMemory | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        controlnet = self.controlnet if self.control_scale else None
        object.__setattr__(self, "network", FastVideoNetwork(self.unet, controlnet, self.control_scale))

    def remember(self, memory: SourceMemory | None) -> None:
        """Keeps features of unsteered calls in `memory` and takes those of sources from there, where it has them."""
        object.__setattr__(self, "memory", memory)

    def __call__(self, x: Tensor, level: float, condition: ClipCondition) -> Tensor:
        memory = self.memory
        noting = NotedFeatures(memory.plan) if memory is not None and memory.has_room else None
        velocity = self.network(*self.network_arguments(x, level, condition), noting)
        if memory is not None and noting is not None:
            memory.keep(level, x, noting.clips(len(x)))
        return edm.denoised_from_velocity(velocity.float(), x, level)

    def steered(self, x: Tensor, level: float, condition: ClipCondition, steering: Steering) -> Tensor:
        """The denoised latents of all clips but the source's."""
        assert steering.attention is None, "clips have no extended attention"
        plan = steering.injection
        source = len(x) // plan.branches
        kept = None if self.memory is None else self.memory.take(level, x[:source])
        most = max(1, self.max_batch // x.shape[1]) if self.max_batch else len(x)
        if kept is None and most >= len(x):
            arguments = self.network_arguments(x, level, condition)
            velocity = self.network(*arguments, CopiedAttention(plan), replaced_block(plan, source))
            return edm.denoised_from_velocity(velocity[source:].float(), x[source:], level)
        return self._apart(x, level, condition, plan, kept, most)

    def _apart(
        self,
        x: Tensor,
        level: float,
        condition: ClipCondition,
        plan: InjectionPlan,
        kept: list[ClipFeatures] | None,
        most: int,
    ) -> Tensor:
        """What `steered` says, the source's clips in calls of their own and at most `most` clips a call."""
        source = len(x) // plan.branches
        found: dict[int, Tensor] = {}
        groups = (
            [range(source)] if kept is not None and most >= len(x) - source else [[i] for i in range(source)]
        )
        for group in groups:
            features = (
                {i: self._features(x, level, condition, plan, i) for i in group}
                if kept is None
                else dict(enumerate(kept))
            )
            rows = [branch * source + i for branch in range(1, plan.branches) for i in group]
            for start in range(0, len(rows), most):
                chosen = rows[start : start + most]
                index = torch.tensor(chosen, device=x.device)
                clips = [features[row % source] for row in chosen]
                masks = [row % source for row in chosen]
                velocity = self.network(
                    *self.network_arguments(x[index], level, condition.rows(index)),
                    InjectedAttention(plan, clips, masks),
                    _given_block(plan, clips),
                )
                clean = edm.denoised_from_velocity(velocity.float(), x[index], level)
                found.update(zip(chosen, clean, strict=True))
        return torch.stack([found[row] for row in range(source, len(x))])

    def _features(
        self, x: Tensor, level: float, condition: ClipCondition, plan: InjectionPlan, clip: int
    ) -> ClipFeatures:
        """Of one clip of the source, what the plan copies."""
        noting, row = NotedFeatures(plan), slice(clip, clip + 1)
        self.network(*self.network_arguments(x[row], level, condition.rows(row)), noting)
        return noting.clips(1)[0]


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


def _given_block(plan: InjectionPlan, clips: Sequence[ClipFeatures]) -> Replaced | None:
    """The same where the block's output is known for all clips of a call."""
    replaced = replaced_block(plan, 0)
    if replaced is None:
        return None
    name = f"up_blocks.{replaced.level}.resnets.{replaced.block}"
    features = torch.cat([clip.blocks[name][0] for clip in clips])
    return replace(replaced, given=(features, clips[0].blocks[name][1]))


def _everywhere(copy: FeatureCopy) -> tuple[str, ...]:
    assert copy.mask is None, "blocks are copied everywhere"
    return copy.names
