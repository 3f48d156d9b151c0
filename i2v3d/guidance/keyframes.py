"""3D-guided keyframe sampling: DDIM from inverted latents, windows of frames averaged at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch

from i2v3d.diffusion.ddim import DDIM
from i2v3d.diffusion.denoiser import Network
from i2v3d.diffusion.guidance import Guided
from i2v3d.diffusion.multistep import Multistep
from i2v3d.diffusion.sdedit import add_noise, steps_run
from i2v3d.diffusion.windows import Windows
from i2v3d.errors import ShapeError
from i2v3d.guidance.branches import Branches
from i2v3d.guidance.keyframe_denoiser import KeyframeDenoiser, KeyframeInjection, KeyframeLayers
from i2v3d.guidance.masks import FrameMasks
from i2v3d.progress import OnStep, ignore_step


@dataclass(frozen=True)
class KeyframeGuidance:
    """How keyframes are guided (3c to 3f of the method).

    scale: of the classifier-free guidance. injection: None for the ablation without it. extended_attention: whether
    the frames of a window attend to each other, shared: to what. window, overlap: keyframes denoised together, and
    those that two neighbouring windows share. solver: of first or second order. unconditional_every: the unconditional
    branch is computed at one step of so many, see `SparseUnconditional`. cache_interval: deep features of the network
    are computed at one step of so many, see `BranchedNetwork`. strength: fraction of the steps that are run, the last
    ones, from the inverted latents of that level (1: all, as published).
    """

    scale: float
    injection: KeyframeInjection | None
    extended_attention: bool
    shared: Literal["background", "everything"]
    window: int
    overlap: int
    solver: Literal["ddim", "dpmpp_2m"]
    unconditional_every: int
    cache_interval: int
    strength: float


@dataclass(frozen=True)
class KnownFrame:
    """A keyframe that is not generated: clean latents and unit noise (C, h, w) of frame `index`, from 0.

    At every level it is what its clean latents with that much of the one noise are, so that the other frames
    of its window attend to a true picture. Source: Lugmayr et al., RePaint, 2022, equation 8a, with fixed noise.
    """

    index: int
    clean: torch.Tensor
    noise: torch.Tensor

    def at(self, ddim: DDIM, level: int) -> torch.Tensor:
        """Its latents (C, h, w) at noise level `level`, 0 is clean."""
        return self.clean if level == 0 else add_noise(ddim, self.clean, self.noise, level)


def start_latents(inverted: torch.Tensor, visible: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The inverted latents where a surface is visible, fresh noise elsewhere (3b of the method).

    inverted, noise: (N, C, h, w); visible: (N, h, w) bool.
    """
    return torch.where(visible[:, None], inverted, noise)


def guide_keyframes(
    network: Network[Any],
    layers: KeyframeLayers,
    ddim: DDIM,
    source: torch.Tensor,
    branches: Branches[Any],
    masks: FrameMasks,
    noise: torch.Tensor,
    guidance: KeyframeGuidance,
    *,
    max_batch: int,
    known: KnownFrame | None = None,
    on_step: OnStep = ignore_step,
) -> list[torch.Tensor]:
    """N keyframes from their inverted coarse renders; returns their latents (N, C, h, w) after each step.

    source: (S, N, C, h, w) float32, `ddim.invert`'s levels. branches: the conditions, one row a keyframe; the source's
    is that of the inversion. masks: of the renders. noise: (N, C, h, w), unit variance, for what is not visible.
    max_batch: pictures a network call (0: no limit). known: a keyframe that keeps its picture.
    Raises ShapeError if source and sampler differ in steps, LayerError if a layer pattern matches nothing,
    ConfigError for an overlap that the window does not allow. Source: I2V3D, 3b to 3f of the method.
    """
    if len(source) != ddim.steps:
        raise ShapeError(f"the source has {len(source)} noise levels; expected one a step, {ddim.steps}")
    windows = Windows.over(source.shape[1], guidance.window, guidance.overlap)
    denoiser = KeyframeDenoiser(
        network,
        layers,
        source,
        branches,
        masks,
        windows,
        guidance.injection,
        shared=guidance.shared if guidance.extended_attention else None,
        unconditional_every=guidance.unconditional_every,
        cache_interval=guidance.cache_interval,
        max_batch=max_batch,
    )
    level = steps_run(ddim.steps, guidance.strength)
    if level < ddim.steps:  # there is less noise where nothing is visible, too
        noise = add_noise(ddim, torch.zeros_like(noise), noise, level)
    start = start_latents(source[level - 1], masks.visible.at(*source.shape[-2:]), noise)
    multistep = Multistep(ddim.sigmas) if guidance.solver == "dpmpp_2m" else None
    with torch.no_grad():
        return sample_keyframes(
            ddim, start, level, Guided(denoiser, guidance.scale), windows, on_step, known, multistep
        )


def sample_keyframes(
    ddim: DDIM,
    start: torch.Tensor,
    first: int,
    guided: Guided,
    windows: Windows,
    on_step: OnStep = ignore_step,
    known: KnownFrame | None = None,
    multistep: Multistep | None = None,
) -> list[torch.Tensor]:
    """Denoises N keyframes together; returns the latents (N, C, h, w) after each step, the last one clean.

    start: (N, C, h, w) at level `first`. guided: is asked for the rows of all windows, window after window.
    known: a frame that keeps its picture. multistep: of `ddim.sigmas`, for steps of second order. A frame in several
    windows gets the mean of its denoised latents (3f of the method).
    """
    rows = torch.tensor(windows.rows, device=start.device)
    mean = windows.mean_weights().to(start)
    x, trajectory = _with_known(start, known, ddim, first), []
    for level in range(first, 0, -1):
        step = ddim.steps - level
        windowed = x[rows]
        noise = guided.predict(windowed, ddim.timesteps[level - 1], step)
        if multistep is not None:
            clean = multistep(ddim.clean(windowed, noise, level), step)
            noise = ddim.noise(windowed, clean, level)
        denoised = ddim.move(windowed, noise, level, level - 1)
        x = _with_known(torch.einsum("nr,rchw->nchw", mean, denoised), known, ddim, level - 1)
        trajectory.append(x)
        on_step(first - level + 1, first)
    return trajectory


def _with_known(x: torch.Tensor, known: KnownFrame | None, ddim: DDIM, level: int) -> torch.Tensor:
    if known is None:
        return x
    x = x.clone()
    x[known.index] = known.at(ddim, level)
    return x
