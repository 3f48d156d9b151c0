"""The keyframes' denoiser under 3D guidance: features of the coarse renders enter, background is shared.

Source: I2V3D, 3c to 3e of the method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from i2v3d.diffusion.denoiser import Network, Prediction
from i2v3d.diffusion.time_limits import within
from i2v3d.diffusion.windows import Windows
from i2v3d.guidance.branches import BranchedNetwork, Branches, SharedBackground, SparseUnconditional
from i2v3d.guidance.cross_frame import CrossFramePlan
from i2v3d.guidance.injection import FeatureCopy, resolve_layers
from i2v3d.guidance.masks import FrameMasks, LayerMask

BRANCHES = 3  # source, unconditional, conditional


@dataclass(frozen=True)
class KeyframeInjection:
    """For which first fractions of the steps features of the source are injected (3d of the method).

    tau_foreground, tau_background: of queries and keys. Until the smaller of the two those of everything visible are
    injected, from there to the larger one those of the foreground. tau_conv: of the foreground's convolutions.
    compat_inclusive_tau: the first two hold one step longer, by the released code's '<='.
    """

    tau_foreground: float
    tau_background: float
    tau_conv: float
    compat_inclusive_tau: bool

    def attention_mask(self, masks: FrameMasks, step: int, steps: int) -> LayerMask | None:
        """Where queries and keys are injected at 0-based `step` of `steps`; None is nowhere."""
        first, last = sorted((self.tau_foreground, self.tau_background))
        if within(step, steps, first, self.compat_inclusive_tau):
            return masks.visible
        return masks.foreground if within(step, steps, last, self.compat_inclusive_tau) else None

    def in_convolutions(self, step: int, steps: int) -> bool:
        """Whether convolutions are injected at a step; the released code's '<=' is not in this limit."""
        return within(step, steps, self.tau_conv)


@dataclass(frozen=True)
class KeyframeLayers:
    """Patterns (fnmatch, on names of the network's modules) of the self-attentions whose queries and keys are
    injected and which see other frames, and of the convolutions whose outputs are injected."""

    attention: tuple[str, ...]
    conv: tuple[str, ...]


@dataclass(frozen=True)
class _Chunk:
    """Rows start to stop, which go through the network together."""

    start: int
    stop: int
    masks: FrameMasks
    network: SparseUnconditional


class KeyframeDenoiser:
    """Predicts the noise of the unconditional and the conditional branch of all rows: a `Denoiser`.

    Rows are the frames of all windows, window after window. source: (S, N, C, h, w), the inverted latents of the N
    frames, ascending in noise. injection: None leaves it out. shared: what the frames of a window attend to of each
    other, None is nothing. unconditional_every: see `SparseUnconditional`. cache_interval: see `BranchedNetwork`.
    A chunk of at most max_batch pictures (0: all) holds whole windows when their frames attend to each other, so that
    the result does not depend on max_batch; one window with its branches is the least that goes in one call. Once
    nothing is injected any more the source branch is left out. Raises LayerError if a layer pattern matches nothing,
    ConfigError for a cache_interval that the network cannot keep.
    """

    def __init__(
        self,
        network: Network[Any],
        layers: KeyframeLayers,
        source: torch.Tensor,
        branches: Branches[Any],
        masks: FrameMasks,
        windows: Windows,
        injection: KeyframeInjection | None,
        *,
        shared: Literal["background", "everything"] | None,
        unconditional_every: int,
        cache_interval: int,
        max_batch: int,
    ) -> None:
        self._network, self._branches, self._masks = network, branches, masks
        self._every, self._interval = unconditional_every, cache_interval
        self._attention = resolve_layers(network.layers, layers.attention)
        self._conv = resolve_layers(network.layers, layers.conv)
        self._injection, self._shared = injection, shared
        self._source, self._rows = source, torch.tensor(windows.rows, device=source.device)
        sizes = [stop - start for start, stop in windows.spans]
        groups = sizes if shared else [1] * sum(sizes)
        limit = max(1, max_batch // BRANCHES) if max_batch else 0
        self._chunks = [self._chunk(windows.rows, group) for group in pack(groups, limit)]

    def _chunk(self, rows: tuple[int, ...], groups: tuple[int, Sequence[int]]) -> _Chunk:
        start, sizes = groups
        stop = start + sum(sizes)
        frames = rows[start:stop]
        index = torch.tensor(frames, device=self._masks.visible.full.device)
        chosen, branches = self._masks.items(frames), self._branches.rows(index)

        def network(branches: Branches[Any]) -> BranchedNetwork:
            background = self._background(chosen, sizes, len(branches.guided)) if self._shared else None
            return BranchedNetwork(self._network, branches, background, 0, frames, self._interval)

        without = network(branches.without_unconditional) if self._every > 1 else None
        return _Chunk(start, stop, chosen, SparseUnconditional(network(branches), without, self._every))

    def _background(self, masks: FrameMasks, sizes: Sequence[int], sampled: int) -> SharedBackground:
        """Extended attention of `sampled` branches behind the source's; frames that share everything are all
        background to it."""
        own = masks.foreground
        if self._shared == "everything":
            own = LayerMask(torch.zeros_like(own.full))
        return SharedBackground(
            self._attention,
            CrossFramePlan(own, sizes, branches=1 + sampled, plain=1),
            CrossFramePlan(own, sizes, branches=sampled, plain=0),
        )

    def __call__(self, x: torch.Tensor, level: float, step: int) -> Prediction:
        """The predictions for x (rows, C, h, w) at the timestep `level` of the 0-based `step`."""
        source = self._source[len(self._source) - 1 - step][self._rows]
        parts = [
            chunk.network(
                x[chunk.start : chunk.stop],
                source[chunk.start : chunk.stop],
                level,
                self._copies(chunk.masks, step),
                step,
            )
            for chunk in self._chunks
        ]
        return Prediction(
            torch.cat([part.unconditional for part in parts]), torch.cat([part.conditional for part in parts])
        )

    def _copies(self, masks: FrameMasks, step: int) -> tuple[FeatureCopy, ...]:
        """What is injected at a step."""
        if self._injection is None:
            return ()
        steps = len(self._source)
        mask = self._injection.attention_mask(masks, step, steps)
        copies = [] if mask is None else [FeatureCopy("query_key", self._attention, mask)]
        if self._injection.in_convolutions(step, steps):
            copies.append(FeatureCopy("output", self._conv, masks.foreground))
        return tuple(copies)


def pack(groups: Sequence[int], limit: int) -> list[tuple[int, list[int]]]:
    """Packs consecutive groups of rows into chunks of at most `limit` rows (0: one chunk), never splitting
    a group. Returns each chunk's first row and the sizes of its groups."""
    chunks: list[tuple[int, list[int]]] = []
    row = 0
    for size in groups:
        if chunks and (not limit or sum(chunks[-1][1]) + size <= limit):
            chunks[-1][1].append(size)
        else:
            chunks.append((row, [size]))
        row += size
    return chunks
