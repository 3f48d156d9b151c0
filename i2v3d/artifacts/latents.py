"""Inverted latents on disk: what the inversions write and sampling starts from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from i2v3d.artifacts.folders import require
from i2v3d.artifacts.tensors import require_finite, save_tensors
from i2v3d.errors import ArtifactError, ConfigError, ShapeError

LATENTS_FILE = "latents.safetensors"


@dataclass(frozen=True, eq=False)
class InvertedKeyframes:
    """The DDIM inversion of a shot's keyframes: the source of the guided branches.

    frames: the N keyframes' numbers. prompt: what conditioned it. latents: (S, N, C, h, w) float32, of S steps,
    ascending in noise.
    """

    frames: tuple[int, ...]
    prompt: str
    latents: Tensor

    def __post_init__(self) -> None:
        if self.latents.ndim != 5 or self.latents.shape[1] != len(self.frames):
            raise ShapeError(
                f"latents of keyframes {self.frames} are {tuple(self.latents.shape)}; expected steps, keyframes, "
                "channels, height, width"
            )

    @property
    def steps(self) -> int:
        """How many steps the inversion took, S."""
        return len(self.latents)

    def save(self, folder: Path) -> None:
        """Writes latents.safetensors, frames and prompt in its metadata. Raises ConfigError if they are not finite."""
        require_finite(self.latents, "inverted latents of the keyframes")
        facts = {"frames": json.dumps(list(self.frames)), "prompt": self.prompt}
        save_tensors(folder / LATENTS_FILE, {"latents": self.latents.contiguous()}, facts)

    @staticmethod
    def load(folder: Path) -> InvertedKeyframes:
        """Reads latents.safetensors. Raises ArtifactError if it is missing or no inversion of keyframes."""
        require(folder, LATENTS_FILE)
        path = folder / LATENTS_FILE
        try:
            with safe_open(path, framework="pt") as file:
                facts, latents = file.metadata() or {}, file.get_tensor("latents")
            return InvertedKeyframes(tuple(json.loads(facts["frames"])), facts["prompt"], latents)
        except (SafetensorError, OSError, KeyError, ValueError, TypeError, ShapeError) as error:
            raise ArtifactError(
                f"{path} is no inversion of keyframes ({error}); delete {folder} and re-run its stage"
            ) from error

    def check(self, folder: Path, frames: Sequence[int], steps: int) -> None:
        """Raises ArtifactError unless these are the inversion of `frames` in `steps` steps. folder: where they lie."""
        if self.frames != tuple(frames) or self.steps != steps:
            raise ArtifactError(
                f"{folder / LATENTS_FILE} holds {self.steps} steps of frames {list(self.frames)}; expected {steps} "
                f"steps of {list(frames)}, set keyframes.inversion.steps to keyframes.steps"
            )


def clip_guide(control_scale: float, depth_range: str, solver: str) -> dict[str, str]:
    """What depth does in a network call, and the solver unless it is Euler's, as `InvertedClip.guide` has them."""
    guide = {"control_scale": str(control_scale), "depth_range": depth_range}
    return guide if solver == "euler" else {**guide, "solver": solver}


@dataclass(frozen=True)
class InvertedClip:
    """The EDM inversion of a coarse clip, forward and reversed, with what it was conditioned on.

    sigmas: (S + 1,) ascending. forward, reversed: (S + 1, F, C, h, w) float32, clean latents first, each at
    its own noise level; the reversed clip begins with the segment's last frame. Of a deferred inversion they are the
    clean latents alone, (1, F, C, h, w). guide: `clip_guide`, as the sampling must be asked for it, too.
    forward_*, reversed_*: the condition of each, the coarse first and last frame. time_ids: (3,).
    """

    sigmas: Tensor
    forward: Tensor
    reversed: Tensor
    forward_embedding: Tensor
    forward_latents: Tensor
    reversed_embedding: Tensor
    reversed_latents: Tensor
    time_ids: Tensor
    guide: Mapping[str, str]

    @property
    def deferred(self) -> bool:
        """Whether there is yet to be inverted."""
        return len(self.forward) == 1

    def __post_init__(self) -> None:
        shape = self.forward.shape
        levels = self.sigmas.shape[:1]
        if len(shape) != 5 or self.reversed.shape != shape or shape[:1] not in (levels, (1,)):
            raise ShapeError(
                f"forward is {tuple(shape)}, reversed {tuple(self.reversed.shape)} and sigmas "
                f"{tuple(self.sigmas.shape)}; expected levels, frames, channels, height, width twice, and the levels"
            )
        for name in ("forward_latents", "reversed_latents"):
            if getattr(self, name).shape != shape[2:]:
                raise ShapeError(f"{name} is {tuple(getattr(self, name).shape)}; expected {tuple(shape[2:])}")

    def save(self, folder: Path) -> None:
        """Writes latents.safetensors. Raises ConfigError if a number of it is not finite."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "guide"}
        tensors = {name: value.detach().cpu().contiguous() for name, value in values.items()}
        for name, values in tensors.items():
            require_finite(values, f"inverted clip, {name}")
        save_tensors(folder / LATENTS_FILE, tensors, self.guide)

    @staticmethod
    def load(folder: Path, device: str) -> InvertedClip:
        """Reads latents.safetensors onto `device`. Raises ArtifactError if it is missing or corrupt."""
        require(folder, LATENTS_FILE)
        try:
            with safe_open(folder / LATENTS_FILE, framework="pt") as file:
                guide = file.metadata() or {}
            return InvertedClip(**load_file(folder / LATENTS_FILE, device=device), guide=guide)
        except (SafetensorError, OSError, TypeError, ShapeError) as error:
            raise ArtifactError(
                f"{folder / LATENTS_FILE} is not an inversion ({error}); delete {folder} and re-run its stage"
            ) from error

    def check(
        self, folder: Path, numbers: Sequence[int], sigmas: Sequence[float], guide: Mapping[str, str]
    ) -> None:
        """Raises ConfigError unless this is the inversion up to the noise levels `sigmas`, ascending, and, if it is
        deferred, with the same guide, and ArtifactError unless it is that of the frames `numbers`. folder: where it
        lies."""
        levels, found = torch.tensor(sigmas), self.sigmas.cpu()
        if found.shape != levels.shape or not torch.allclose(found, levels, rtol=1e-4):
            raise ConfigError(
                f"interpolate.steps is {len(levels) - 1} but {folder} was inverted in {len(found) - 1} steps "
                "or at other noise levels; set interpolate.inversion.steps to the same number"
            )
        if self.deferred and dict(self.guide) != dict(guide):
            raise ConfigError(
                f"{folder} is a deferred inversion with {dict(self.guide)}, the sampling has {dict(guide)}; "
                "both are one job then, set interpolate.inversion.* to the same values"
            )
        if self.forward.shape[1] != len(numbers):
            raise ArtifactError(
                f"{folder} holds {self.forward.shape[1]} frames, the segment has {len(numbers)}; "
                "delete the folder and re-run its stage"
            )
