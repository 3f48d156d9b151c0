"""Embedded prompts on disk: what the text stage writes and a video model is told."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from i2v3d.artifacts.folders import require
from i2v3d.artifacts.tensors import require_finite, save_tensors
from i2v3d.errors import ArtifactError, ShapeError

PROMPTS_FILE = "prompts.safetensors"


@dataclass(frozen=True)
class EmbeddedPrompts:
    """negative, positive: (L, D) float32, both of L tokens, zero after the last of the prompt."""

    negative: Tensor
    positive: Tensor

    def __post_init__(self) -> None:
        if self.negative.ndim != 2 or self.negative.shape != self.positive.shape:
            raise ShapeError(
                f"the prompts are {tuple(self.negative.shape)} and {tuple(self.positive.shape)}; expected (L, D) twice"
            )

    def save(self, folder: Path) -> None:
        """Writes prompts.safetensors. Raises ConfigError if a number of them is not finite."""
        tensors = {f.name: getattr(self, f.name).cpu().contiguous() for f in fields(self)}
        for name, values in tensors.items():
            require_finite(values, f"embedded prompt, {name}")
        save_tensors(folder / PROMPTS_FILE, tensors)

    @staticmethod
    def load(folder: Path) -> EmbeddedPrompts:
        """Reads prompts.safetensors. Raises ArtifactError if it is missing or holds something else."""
        require(folder, PROMPTS_FILE)
        try:
            return EmbeddedPrompts(**load_file(folder / PROMPTS_FILE))
        except (SafetensorError, OSError, TypeError, ShapeError) as error:
            raise ArtifactError(
                f"{folder / PROMPTS_FILE} holds no prompts ({error}); delete {folder} and re-run its stage"
            ) from error
