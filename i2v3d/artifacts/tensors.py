"""Tensors on disk: written whole and finite, or a line that says why not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from i2v3d.errors import ArtifactError, ConfigError


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a .safetensors file. Raises ArtifactError if the disk is full or cannot be written: for that the library
    has an error of its own, which is no OSError."""
    try:
        save_file(dict(tensors), path, metadata=dict(metadata) if metadata else None)
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ArtifactError(f"cannot write {path} ({reason}); free or unlock the disk") from error


def require_finite(values: Tensor, what: str) -> None:
    """Raises ConfigError, naming `what`, if a number is infinite or none: pictures of it would be black."""
    wrong = int((~values.isfinite()).sum())
    if wrong:
        raise ConfigError(
            f"{what}: {wrong} of {values.numel()} numbers are not finite; lower guidance, control_scale or "
            "lora.learning_rate, or set the models' dtype to float32"
        )
