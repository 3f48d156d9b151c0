"""The image denoiser under 3D guidance: source, unconditional and conditional branch in one batch.

Features of the source branch (inverted coarse render) are injected into the other two, whose frames share
their background inside each window. Source: I2V3D, 3c to 3e of the method.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from i2v3d.config.keyframes import KeyframesConfig
from i2v3d.config.models import ImageLayers
from i2v3d.diffusion.windows import Windows
from i2v3d.guidance.cross_frame import CrossFramePlan, extend_attention
from i2v3d.guidance.injection import FeatureCopy, InjectionPlan, inject, resolve_layers
from i2v3d.guidance.masks import FrameMasks, within
from i2v3d.models.sdxl import ImageCondition, ImageModels, denoise


@dataclass(frozen=True)
class Branches:
    """The conditions of the three branches, one row a frame."""

    source: ImageCondition
    unconditional: ImageCondition
    conditional: ImageCondition


@dataclass(frozen=True)
class _Chunk:
    """Rows start to stop that go through the networks together; conditions with and without the source."""

    start: int
    stop: int
    masks: FrameMasks
    with_source: ImageCondition
    without_source: ImageCondition
    cross_frame: tuple[CrossFramePlan, CrossFramePlan] | None


class GuidedDenoiser:
    """Predicts the noise of the unconditional and conditional branch of all rows: a `PredictBranches`.

    Rows are the frames of all windows, window after window. A chunk of max_batch images (0: all) holds
    whole windows when their frames attend to each other, so the result does not depend on max_batch; one
    window with its branches is the least that goes in one call. Once nothing is injected any more the
    source branch is left out. Raises LayerError if a layer pattern matches nothing.
    """

    def __init__(
        self,
        models: ImageModels,
        layers: ImageLayers,
        cfg: KeyframesConfig,
        branches: Branches,
        masks: FrameMasks,
        windows: Windows,
        max_batch: int,
    ) -> None:
        self._models, self._cfg = models, cfg
        self._attention = resolve_layers(models.unet, layers.attention)
        self._conv = resolve_layers(models.unet, layers.conv)
        sizes = [stop - start for start, stop in windows.spans]
        groups = sizes if cfg.extended_attention else [1] * sum(sizes)
        self._chunks = [
            self._chunk(branches, masks, windows.rows, group)
            for group in pack(groups, max_batch // 3 if max_batch else 0)
        ]

    def _chunk(
        self, branches: Branches, masks: FrameMasks, rows: tuple[int, ...], groups: tuple[int, Sequence[int]]
    ) -> _Chunk:
        start, sizes = groups
        stop = start + sum(sizes)
        frames = rows[start:stop]
        index = torch.tensor(frames, device=masks.visible.full.device)
        source, *guided = (
            branch.rows(index) for branch in (branches.source, branches.unconditional, branches.conditional)
        )
        chosen = masks.items(frames)
        plans = None
        if self._cfg.extended_attention:
            plans = (
                CrossFramePlan(chosen.foreground, sizes, branches=3, plain=1),
                CrossFramePlan(chosen.foreground, sizes, branches=2, plain=0),
            )
        return _Chunk(
            start, stop, chosen, ImageCondition.join([source, *guided]), ImageCondition.join(guided), plans
        )

    def __call__(
        self, x: torch.Tensor, source: torch.Tensor, timestep: int, step: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The predictions for x (rows, C, h, w), with the source latents of the same noise level."""
        parts = [
            self._predict(
                chunk, x[chunk.start : chunk.stop], source[chunk.start : chunk.stop], timestep, step
            )
            for chunk in self._chunks
        ]
        unconditional, conditional = (torch.cat(part) for part in zip(*parts, strict=True))
        return unconditional, conditional

    def _predict(
        self, chunk: _Chunk, x: torch.Tensor, source: torch.Tensor, timestep: int, step: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        copies = self._copies(chunk.masks, step)
        rows = torch.cat([source, x, x] if copies else [x, x])
        condition = chunk.with_source if copies else chunk.without_source
        unet = self._models.unet
        with ExitStack() as guided:
            guided.enter_context(inject(unet, InjectionPlan(copies, branches=3)))
            if chunk.cross_frame is not None:
                plan = chunk.cross_frame[0 if copies else 1]
                guided.enter_context(extend_attention(unet, self._attention, plan))
            prediction = denoise(self._models, rows, timestep, condition)
        unconditional, conditional = prediction.split(len(x))[-2:]
        return unconditional, conditional

    def _copies(self, masks: FrameMasks, step: int) -> tuple[FeatureCopy, ...]:
        """What is injected at a step: attention within its two time limits, convolutions within theirs."""
        cfg = self._cfg
        if not cfg.injection:
            return ()
        inclusive = cfg.compat_inclusive_tau  # the released code's '<=' is in the attention's limits only
        mask = masks.injection(
            with_foreground=within(step, cfg.steps, cfg.tau_foreground, inclusive),
            with_background=within(step, cfg.steps, cfg.tau_background, inclusive),
        )
        copies = [] if mask is None else [FeatureCopy("query_key", self._attention, mask)]
        if within(step, cfg.steps, cfg.tau_conv):
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
