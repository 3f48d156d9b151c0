"""The shipped family from its trained parts, and back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from i2v3d.errors import WeightsError
from i2v3d.mini import assemble, take_apart

SHIPPED = Path(__file__).parents[1] / "weights" / "mini"


def test_the_shipped_family_taken_apart_and_assembled_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the two commands: every file that the checksums list, byte for byte."""
    parts, family = tmp_path / "parts", tmp_path / "family"
    monkeypatch.setattr(sys, "argv", ["take_apart", str(SHIPPED), "--out", str(parts)])
    take_apart.main()
    assert {path.stem for path in parts.iterdir()} == set(assemble.PARTS.values())
    monkeypatch.setattr(sys, "argv", ["assemble", "--weights", str(parts), "--out", str(family)])
    assemble.main()
    assert (family / assemble.SUMS).read_text() == (SHIPPED / assemble.SUMS).read_text()


def test_a_folder_without_a_family_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"image/vae does not hold the family's network"):
        take_apart.take_apart(tmp_path, tmp_path / "parts")
