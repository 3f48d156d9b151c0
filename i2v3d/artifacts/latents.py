"""Inverted latents on disk: what the inversions write and sampling starts from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from i2v3d.artifacts.folders import require
from i2v3d.errors import ArtifactError, ShapeError

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
        """Writes latents.safetensors, frames and prompt in its metadata."""
        facts = {"frames": json.dumps(list(self.frames)), "prompt": self.prompt}
        save_file({"latents": self.latents.contiguous()}, folder / LATENTS_FILE, metadata=facts)

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
