"""The passes of a segment: from its first frame onwards, and from its last one backwards (4c of the method).

Shapes: F frames, C latent channels, (h, w) latent size, (H, W) pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic

import torch
from torch import Tensor

from i2v3d.diffusion.denoiser import Network, Prediction
from i2v3d.diffusion.fusion import Pass
from i2v3d.diffusion.guidance import Estimate, Guided
from i2v3d.diffusion.time_limits import within
from i2v3d.guidance.branches import BranchedNetwork, Branches, C, SparseUnconditional
from i2v3d.guidance.injection import FeatureCopy
from i2v3d.guidance.masks import LayerMask


@dataclass(frozen=True)
class ClipInjection:
    """Where and for which first fractions of the steps features of the source are injected (4e of the method).

    attention: names of spatial self-attentions, injected where visible; block: names of spatio-temporal residual
    blocks, injected everywhere. As an option of `interpolate`, both are patterns of names.
    """

    attention: tuple[str, ...]
    block: tuple[str, ...]
    tau_attention: float
    tau_block: float

    def copies(self, step: int, steps: int, visible: LayerMask) -> tuple[FeatureCopy, ...]:
        """What is injected at 0-based `step`."""
        copies = []
        if within(step, steps, self.tau_attention):
            copies.append(FeatureCopy("query_key", self.attention, visible))
        if within(step, steps, self.tau_block):
            copies.append(FeatureCopy("output", self.block, None))
        return tuple(copies)


@dataclass(frozen=True)
class DirectionalPass(Generic[C]):
    """One direction of the sampling; everything is in the time order of the pass.

    source: (S, F, C, h, w), entry i is what the source branch sees at step i, at that step's noise level.
    branches: conditions of one clip. visible: (F, H, W) bool, where features may be injected. reversed: whether the
    pass sees the frames last to first.
    """

    source: Tensor
    branches: Branches[C]
    visible: Tensor
    reversed: bool


class PassGroup:
    """Passes that share a network call, a `Denoiser`: x (F, C, h, w) -> predictions (passes, F, C, h, w).

    All of them in the order of the shot. injection: None leaves it out. max_batch: pictures a call where nothing is
    injected; where something is, all branches of all passes go in one call. unconditional_every: see
    `SparseUnconditional`.
    """

    def __init__(
        self,
        network: Network[Any],
        passes: Sequence[DirectionalPass[Any]],
        injection: ClipInjection | None,
        unconditional_every: int,
        max_batch: int,
    ) -> None:
        self._reversed = [p.reversed for p in passes]
        self._source = torch.stack([p.source for p in passes], dim=1)
        self._visible = LayerMask(torch.cat([p.visible for p in passes]))
        branches = _joined([p.branches for p in passes])
        whole, without = BranchedNetwork(network, branches, None, max_batch), None
        if unconditional_every > 1:
            without = BranchedNetwork(network, branches.without_unconditional, None, max_batch)
        self._network = SparseUnconditional(whole, without, unconditional_every)
        self._injection = injection

    def __call__(self, x: Tensor, level: float, step: int) -> Prediction:
        copies = self._injection.copies(step, len(self._source), self._visible) if self._injection else ()
        found = self._network(self._in_pass_order(x), self._source[step], level, copies, step)
        return Prediction(self._in_shot_order(found.unconditional), self._in_shot_order(found.conditional))

    def _in_pass_order(self, x: Tensor) -> Tensor:
        """(F, ...) in the order of the shot -> (passes, F, ...), each in its own order."""
        return torch.stack([x.flip(0) if flip else x for flip in self._reversed])

    def _in_shot_order(self, clips: Tensor) -> Tensor:
        """(passes, F, ...), each in its own order -> the same in the order of the shot."""
        return torch.stack(
            [clip.flip(0) if flip else clip for clip, flip in zip(clips, self._reversed, strict=True)]
        )


def _joined(parts: Sequence[Branches[Any]]) -> Branches[Any]:
    """The clips of several passes, branch by branch."""
    unconditional = [p.unconditional for p in parts if p.unconditional is not None]
    source, conditional = [p.source for p in parts], [p.conditional for p in parts]
    return Branches(
        source[0].join(source),
        unconditional[0].join(unconditional) if unconditional else None,
        conditional[0].join(conditional),
    )


class GuidedPasses:
    """The guided passes of a segment, a `PredictPasses`.

    The forward and the reversed pass share a call if all their pictures fit into max_batch (0: always). backward:
    None if it is never asked for. scale: of the classifier-free guidance; branches without an unconditional one need
    1. unconditional_every: see `SparseUnconditional`. Source: I2V3D, training-free interpolation (4c to 4e of the
    method).
    """

    def __init__(
        self,
        network: Network[Any],
        forward: DirectionalPass[Any],
        backward: DirectionalPass[Any] | None,
        scale: float,
        injection: ClipInjection | None,
        unconditional_every: int,
        max_batch: int,
    ) -> None:
        sampled = len(forward.branches.guided)
        assert sampled == 2 or scale == 1, "guidance needs the unconditional branch"

        def group(*passes: DirectionalPass[Any]) -> Guided:
            return Guided(PassGroup(network, passes, injection, unconditional_every, max_batch), scale)

        groups: dict[tuple[Pass, ...], list[Guided]] = {("forward",): [group(forward)]}
        if backward is not None:
            groups["reversed",] = [group(backward)]
            pictures = 2 * (1 + sampled) * forward.source.shape[1]
            together = not max_batch or max_batch >= pictures
            groups["forward", "reversed"] = (
                [group(forward, backward)] if together else [*groups["forward",], *groups["reversed",]]
            )
        self._groups = groups

    def __call__(self, x: Tensor, sigma: float, step: int, passes: tuple[Pass, ...]) -> list[Estimate]:
        """The estimates by the passes, each (F, C, h, w) in the order of the shot."""
        estimates = [guided(x, sigma, step) for guided in self._groups[passes]]
        return [
            Estimate(*clips)
            for estimate in estimates
            for clips in zip(estimate.unconditional, estimate.guided, strict=True)
        ]
