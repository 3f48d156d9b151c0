"""What artists save: right, refused with all that is wrong in one line, or rendered with a warning."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.artists_kinds import KINDS

pytestmark = pytest.mark.slow

REFUSED = {
    "two instances, one chosen": "shows collection 'kit' in foreground and background alike; make one",
    "a light for the foreground": "has nothing with faces in 'Sun' (light), which scene.foreground names; name a mesh",
    "an empty collection": "has nothing with faces in 'none' (empty)",
    "a wrong name": "lacks 'Heroo', which scene.foreground names; did you mean 'Hero'?",
    "no foreground": "has no foreground; name some in scene.foreground, of its objects: Hero, Plane",
    "no camera": "has no active camera; set one",
    "orthographic": "looks through camera 'Camera', which is ORTHO; expected a perspective camera",
    "panorama": "which is PANO; expected a perspective camera",
    "orthographic from frame 2": "looks through camera 'top', which is ORTHO",
    "picture gone": "uses the picture //gone.png, which is not in its folder; pack it",
    "picture outside": "uses the picture //../outside.png, which is not in its folder",
    "sequence gone": "uses the picture //lost_0001.png, which is not in its folder",
    "all wrong": "cannot be the scene for 5 reasons: (1) it uses the picture //gone.png",
}
WARNED = {
    "a hundred metres": "is 100 m large; if it is not, set its Unit Scale",
    "far away": "is seen from 1e+06 beside the origin, where Blender knows places to 0.12 only",
    "image node without a picture": "image nodes without a picture render as one colour in red",
    "no light": "has no light: what does not shine by itself is black",
    "two scenes": "has several scenes: 'Scene', which was open in it, is rendered",
}
OTHER_SHAPES = ("text", "curve", "metaball", "instance", "a hundred metres", "far away")
SAME = [name for name in KINDS if name not in {*REFUSED, *OTHER_SHAPES}]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("blends")
    command = [sys.executable, "-m", "tests.support.artists_blends", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((out / "found.json").read_text())


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_the_scene_is_refused_by_name(name: str, found: dict[str, Any]) -> None:
    error = found[name]["error"]
    assert REFUSED[name] in error and error.startswith("InputError") and "\n" not in error


def test_all_that_is_wrong_stands_in_one_message(found: dict[str, Any]) -> None:
    error = found["all wrong"]["error"]
    for part in (
        "//gone.png",
        "(2) it uses the picture //lost.png",
        "ORTHO",
        "'Heroo'",
        "(5) it has nothing with faces",
    ):
        assert part in error


@pytest.mark.parametrize("name", SAME)
def test_what_the_render_does_not_show_changes_nothing(name: str, found: dict[str, Any]) -> None:
    """Depth, masks and camera are those of the plain file, in metres."""
    plain, here = found["as it should be"], found[name]
    assert "error" not in here
    for key in ("depth_range_m", "foreground", "eye_m"):
        np.testing.assert_allclose(here[key], plain[key], rtol=1e-5, atol=1e-6, err_msg=key)
    assert [w for w in here["warnings"] if name not in WARNED] == []


@pytest.mark.parametrize("name", WARNED)
def test_what_blender_renders_in_its_own_way_is_warned_about(name: str, found: dict[str, Any]) -> None:
    assert len(found[name]["warnings"]) == 1 and WARNED[name] in found[name]["warnings"][0]


@pytest.mark.parametrize("name", ["text", "curve", "metaball", "instance"])
def test_everything_with_faces_can_be_the_foreground(name: str, found: dict[str, Any]) -> None:
    assert 0.02 < found[name]["foreground"] < 0.5 and found[name]["faces"] > 6
    assert "foreground" in {item["role"] for item in found[name]["objects"]}
    assert 3.5 < found[name]["foreground_depth_m"] < 5.5


def test_a_sequence_plays(found: dict[str, Any]) -> None:
    first, second = found["sequence"]["middle"]
    assert first[0] > 0.1 > first[2] and second[2] > 0.1 > second[0]
