"""A profile that is nowhere does not go unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2v3d.errors import ConfigError
from i2v3d.workflow.profiles import check_profile
from tests.support.checkout import ROOT


@pytest.mark.parametrize("words", [["--workflow-profile", "slrum"], ["-n", "--workflow-profile=slrum"]])
def test_a_misspelt_profile_is_named_with_the_nearest(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="--workflow-profile slrum does not exist; did you mean 'slurm'"):
        check_profile(words, ROOT)


def test_profiles_are_found_where_snakemake_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles" / "mine").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    (tmp_path / "another" / "profiles" / "theirs").mkdir(parents=True)
    for name in ("none", "slurm", "kubernetes", "mine", "here", "profiles/mine", str(tmp_path / "here")):
        check_profile(["--workflow-profile", name, "-n"], ROOT)
        check_profile([f"--workflow-profile={name}"], ROOT)
    check_profile(["-n", "--workflow-profile", "theirs"], ROOT, tmp_path / "another")
    check_profile(["-n", "--cores", "1"], ROOT)
