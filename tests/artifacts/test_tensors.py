"""Tensors that cannot be written or are no numbers are told in a line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from i2v3d.artifacts.tensors import require_finite, save_tensors
from i2v3d.errors import ArtifactError, ConfigError


def test_a_full_disk_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("i2v3d.artifacts.tensors.save_file", refuse)
    with pytest.raises(
        ArtifactError, match=r"cannot write .*No space left on device.*; free or unlock the disk"
    ):
        save_tensors(tmp_path / "x", {"x": torch.zeros(3)})


def test_a_missing_folder_is_a_line(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"cannot write .*No such file"):
        save_tensors(tmp_path / "none" / "x", {"x": torch.zeros(3)})


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_told_with_what_to_lower(bad: float) -> None:
    require_finite(torch.zeros(4), "frames")
    with pytest.raises(ConfigError, match=r"frames: 1 of 4 numbers are not finite; lower guidance"):
        require_finite(torch.tensor([0.0, 1.0, bad, 2.0]), "frames")
