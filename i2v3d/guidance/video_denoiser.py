"""The video networks as denoisers: one clip condition each, or the guided passes of interpolation.

Shapes: B clips of F frames, C latent channels, (h, w) latent size, (H, W) pixels, D embedding width.
A clip is never split, since temporal layers couple its frames; several clips share a network call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from i2v3d.diffusion import edm
from i2v3d.diffusion.fusion import Pass, Prediction
from i2v3d.diffusion.guidance import classifier_free_guidance
from i2v3d.guidance.injection import FeatureCopy, InjectionPlan, inject
from i2v3d.guidance.masks import LayerMask, within
from i2v3d.models.temporal_controlnet import denoise_with_residuals


@dataclass(frozen=True)
class ClipCondition:
    """What the networks know about B clips.

    embedding: (B, 1, D) of the conditioning picture; image_latents: (B, C, h, w) of it, the same for all
    frames; time_ids: (B, 3); control: (B, F, C_0, h, w), the ControlNet's embedded depth.
    """

    embedding: Tensor
    image_latents: Tensor
    time_ids: Tensor
    control: Tensor

    def clips(self, wanted: slice) -> ClipCondition:
        """The conditions of some clips."""
        return ClipCondition(*(getattr(self, f.name)[wanted] for f in fields(self)))

    def unconditional(self) -> ClipCondition:
        """The same without the picture: zero embedding and latents, as SVD drops it in training."""
        return ClipCondition(
            torch.zeros_like(self.embedding),
            torch.zeros_like(self.image_latents),
            self.time_ids,
            self.control,
        )

    @staticmethod
    def join(parts: Sequence[ClipCondition]) -> ClipCondition:
        """The clips of several conditions, one after the other."""
        return ClipCondition(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(ClipCondition)))


@dataclass(frozen=True)
class ClipDenoiser:
    """UNet and depth ControlNet as D(x, sigma); control_scale: strength of the ControlNet, 0 leaves it out.

    The networks run in their own precision; latents are float32 in and out.
    """

    unet: Any
    controlnet: Any
    control_scale: float

    def control(self, depth: Tensor) -> Tensor:
        """Features (1, F, C_0, h, w) of depth pictures (F, 3, H, W) in [-1, 1], near is bright."""
        pixels = depth.to(self.controlnet.device, self.controlnet.dtype)
        features: Tensor = self.controlnet.embed_condition(pixels[None])
        return features

    def __call__(self, x: Tensor, sigma: float, condition: ClipCondition) -> Tensor:
        """Denoised latents of B clips. x: (B, F, C, h, w) at noise level sigma."""
        dtype, frames = self.unet.dtype, x.shape[1]
        pictures = condition.image_latents[:, None].expand(-1, frames, -1, -1, -1)
        network_input = torch.cat([edm.scaled_input(x, sigma), pictures], dim=2).to(dtype)
        arguments = (
            network_input,
            edm.timestep(sigma),
            condition.embedding.to(dtype),
            condition.time_ids,
        )
        residuals = None
        if self.control_scale != 0:
            residuals = self.controlnet(*arguments, condition.control, self.control_scale, embedded=True)
        velocity = denoise_with_residuals(self.unet, *arguments, residuals)
        return edm.denoised_from_velocity(velocity.float(), x, sigma)

    def in_chunks(self, x: Tensor, sigma: float, condition: ClipCondition, max_batch: int) -> Tensor:
        """The same with at most `max_batch` images a network call (0: no limit), but one clip at least."""
        clips = max(1, max_batch // x.shape[1]) if max_batch else len(x)
        parts = [
            self(x[i : i + clips], sigma, condition.clips(slice(i, i + clips)))
            for i in range(0, len(x), clips)
        ]
        return torch.cat(parts) if len(parts) > 1 else parts[0]


@dataclass(frozen=True)
class InjectionLayers:
    """Where and how long the source branch's features replace the others' (4e of the method).

    attention: names of spatial self-attentions, injected where visible; blocks: names of spatio-temporal
    residual blocks, injected everywhere; tau_*: fractions of the steps.
    """

    attention: tuple[str, ...]
    blocks: tuple[str, ...]
    tau_attention: float
    tau_block: float

    def copies(self, step: int, steps: int, visible: LayerMask) -> tuple[FeatureCopy, ...]:
        """What is injected at 0-based `step`."""
        copies = []
        if within(step, steps, self.tau_attention):
            copies.append(FeatureCopy("query_key", self.attention, visible))
        if within(step, steps, self.tau_block):
            copies.append(FeatureCopy("output", self.blocks, None))
        return tuple(copies)


@dataclass(frozen=True)
class DirectionalPass:
    """One direction of the bidirectional sampling; everything is in the time order of the pass.

    source: (S, F, C, h, w), entry i is what the source branch sees at step i, at that step's noise level.
    source_condition, condition: of one clip, the coarse end frame and the keyframe. visible: (F, H, W)
    bool, where features may be injected. reversed: whether the pass sees the frames last to first.
    """

    source: Tensor
    source_condition: ClipCondition
    condition: ClipCondition
    visible: Tensor
    reversed: bool


class GuidedInterpolation:
    """The passes of a segment, a `Predict`: three branches, one or both directions, injection, guidance.

    x: (F, C, h, w) in the order of the shot. Rows of a network call are laid out branch by branch,
    [source | unconditional | conditional], each with the clips of the passes. The source branch is left out
    at steps that inject nothing, the unconditional one where `unconditional` is False: the predictions then
    are the conditional ones, as a guidance of 1 makes them. Passes share a call if all their images fit into
    `max_batch` (0: always).
    Source: I2V3D, training-free interpolation (4c to 4e of the method).
    """

    def __init__(
        self,
        denoiser: ClipDenoiser,
        forward: DirectionalPass,
        backward: DirectionalPass | None,
        guidance: float,
        injection: InjectionLayers | None,
        max_batch: int,
        *,
        unconditional: bool,
    ) -> None:
        """backward: None if the reversed pass is never asked for; injection: None for the ablation without it."""
        assert unconditional or guidance == 1, "guidance needs the unconditional branch"
        self._denoiser, self._guidance, self._branches = denoiser, guidance, 2 if unconditional else 1
        self._injection, self._max_batch = injection, max_batch
        self._steps = forward.source.shape[0]
        groups: dict[tuple[Pass, ...], list[_PassGroup]] = {
            ("forward",): [_PassGroup([forward], unconditional)]
        }
        if backward is not None:
            groups["reversed",] = [_PassGroup([backward], unconditional)]
            images = 2 * (1 + self._branches) * forward.source.shape[1]
            together = not max_batch or max_batch >= images
            groups["forward", "reversed"] = (
                [_PassGroup([forward, backward], unconditional)]
                if together
                else [*groups["forward",], *groups["reversed",]]
            )
        self._groups = groups

    def __call__(self, x: Tensor, sigma: float, step: int, passes: tuple[Pass, ...]) -> list[Prediction]:
        """The predictions of the passes, each (F, C, h, w) in the order of the shot."""
        return [
            Prediction(*prediction)
            for group in self._groups[passes]
            for prediction in zip(*self._predict(group, x, sigma, step), strict=True)
        ]

    def _predict(self, group: _PassGroup, x: Tensor, sigma: float, step: int) -> tuple[Tensor, Tensor]:
        """Denoised latents of the group's passes, without and with guidance, each (passes, F, C, h, w)."""
        latents = group.in_pass_order(x)
        copies = self._injection.copies(step, self._steps, group.visible) if self._injection else ()
        if copies:
            rows = torch.cat([group.source[step], *[latents] * self._branches])
            # Injection couples the branches of a pass, so this call cannot be split further.
            with inject(self._denoiser.unet, InjectionPlan(copies, branches=1 + self._branches)):
                denoised = self._denoiser(rows, sigma, group.with_source)
            predicted = denoised.chunk(1 + self._branches)[1:]
        else:
            rows = torch.cat([latents] * self._branches)
            denoised = self._denoiser.in_chunks(rows, sigma, group.without_source, self._max_batch)
            predicted = denoised.chunk(self._branches)
        unconditional, conditional = predicted[0], predicted[-1]
        guided = conditional
        if self._guidance != 1:
            guided = classifier_free_guidance(unconditional, conditional, self._guidance)
        return group.in_shot_order(unconditional), group.in_shot_order(guided)


class _PassGroup:
    """Passes that share a network call: their sources, conditions and masks, joined once."""

    def __init__(self, passes: Sequence[DirectionalPass], unconditional: bool) -> None:
        self._reversed = [p.reversed for p in passes]
        self.source = torch.stack([p.source for p in passes], dim=1)
        keyframes = ClipCondition.join([p.condition for p in passes])
        sources = [p.source_condition for p in passes]
        branches = [keyframes.unconditional(), keyframes] if unconditional else [keyframes]
        self.with_source = ClipCondition.join([*sources, *branches])
        self.without_source = self.with_source.clips(slice(len(passes), None))
        self.visible = LayerMask(torch.cat([p.visible for p in passes]))

    def in_pass_order(self, x: Tensor) -> Tensor:
        """(F, ...) in the order of the shot -> (passes, F, ...), each in its own order."""
        return torch.stack([x.flip(0) if flip else x for flip in self._reversed])

    def in_shot_order(self, clips: Tensor) -> Tensor:
        """(passes, F, ...), each in its own order -> the same in the order of the shot."""
        return torch.stack(
            [clip.flip(0) if flip else clip for clip, flip in zip(clips, self._reversed, strict=True)]
        )
