"""Whatever an artist's file sets, the passes of the same scene are the same; holes of textures are holes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.pinned_changes import CHANGES

pytestmark = pytest.mark.slow

Passes = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def passes(tmp_path_factory: pytest.TempPathFactory) -> Passes:
    """NAME.KIND -> array, for every change; all of them from one Blender."""
    out = tmp_path_factory.mktemp("pins")
    command = [sys.executable, "-m", "tests.support.pinned_passes", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(out / "passes.npz") as stored:
        return dict(stored)


@pytest.mark.parametrize("name", CHANGES)
def test_no_setting_of_the_file_changes_a_pass(name: str, passes: Passes) -> None:
    for kind in ("depth", "index", "flow", "colour"):
        # A ray through what is left of smoke draws other random numbers for the light behind it.
        atol = 0.1 if (name, kind) == ("volume before the camera", "colour") else 0.0
        np.testing.assert_allclose(
            passes[f"{name}.{kind}"], passes[f"as it is.{kind}"], rtol=0, atol=atol, err_msg=kind
        )


def test_the_data_layer_has_whole_surfaces_only(passes: Passes) -> None:
    """Of the leaf's four quarters the two with opacity 0 and 0.3 are not there, whatever a ray's chance was."""
    depth, index = passes["as it is.depth"], passes["as it is.index"]
    assert np.isfinite(depth[index == 1]).all() and 0.2 < (index == 1).mean() < 0.8
    leaf = (index == 1) & (depth < 3.5)
    columns = np.flatnonzero(leaf.any(axis=0))
    rows = np.flatnonzero(leaf.any(axis=1))
    assert len(columns) > 8 and len(rows) < len(depth) / 2  # the upper half alone
    inside = leaf[rows[1] : rows[-1], columns[1] : columns[-1]]
    assert inside.mean() > 0.97  # without speckles
