"""What the studio finds in results/, and how many faces the page gets."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

pytest.importorskip("fast_simplification", reason="the studio needs it: pip install 'i2v3d[studio]'")

from i2v3d.errors import ConfigError
from i2v3d.studio import gallery
from i2v3d.studio.surfaces import MOST_FACES, glowing, thinned


def _variant(here: Path, name: str, age_s: float, *files: str) -> Path:
    folder = here / "results" / name
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (1e9 - age_s, 1e9 - age_s))
    return folder


def test_runs_are_found_the_latest_first(tmp_path: Path) -> None:
    _variant(tmp_path, "old/base", 100, "video.mp4", "coarse.mp4", "contact_sheet.png", "keyframes/0001.png")
    _variant(tmp_path, "new/warm", 1, "preview/coarse.mp4", "preview/sheet.png")
    _variant(tmp_path, ".jobs/studio", 1, "video.mp4")
    new, old = gallery.entries(tmp_path)
    assert (new.run, new.variant, new.finished, new.picture) == (
        "new",
        "warm",
        False,
        "new/warm/preview/sheet.png",
    )
    assert old.finished and old.films == ("old/base/video.mp4", "old/base/coarse.mp4")
    assert gallery.keyframes(tmp_path, old) == [(1, "old/base/keyframes/0001.png")]


def test_settings_of_a_variant_are_read_back(tmp_path: Path) -> None:
    folder = _variant(tmp_path, "run/base", 1, "video.mp4")
    (entry,) = gallery.entries(tmp_path)
    with pytest.raises(ConfigError, match="no record"):
        gallery.settings(tmp_path, entry)
    (folder / "provenance.json").write_text(json.dumps({"overrides": ["scene=mug", "seed=3"]}))
    (folder / "config.yaml").write_text("scene: {name: mug, keys: []}\n")
    assert gallery.settings(tmp_path, entry) == (["scene=mug", "seed=3"], {"name": "mug", "keys": []})
    (folder / "metrics.json").write_text(
        json.dumps({"psnr": 25.5, "control": {"iou": 0.9}, "ok": True, "why": "x"})
    )
    assert gallery.scores(tmp_path, entry) == {"psnr": 25.5, "control.iou": 0.9}


@pytest.mark.parametrize("names", [("..", "base"), ("run", "../.."), ("", "base"), ("/etc", "x")])
def test_variants_lie_in_results(tmp_path: Path, names: tuple[str, str]) -> None:
    with pytest.raises(ConfigError):
        gallery.variant_folder(tmp_path, *names)


def test_the_page_gets_a_thinned_copy_that_looks_the_same() -> None:
    ball = trimesh.creation.icosphere(7, 1.0)
    assert len(ball.faces) > MOST_FACES
    ball.visual = trimesh.visual.ColorVisuals(vertex_colors=np.uint8(127 * ball.vertices + 128))
    copy = thinned(ball, MOST_FACES)
    assert 0.9 * MOST_FACES < len(copy.faces) <= MOST_FACES
    np.testing.assert_allclose(np.linalg.norm(copy.vertices, axis=1), 1, atol=1e-3)
    expected = np.uint8(127 * np.asarray(copy.vertices) + 128)
    assert np.abs(copy.visual.vertex_colors[:, :3].astype(int) - expected).max() <= 3
    assert thinned(copy, MOST_FACES) is copy


def test_textures_shine_by_themselves_as_flat_renders_show_them() -> None:
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.new("RGB", (4, 4), (10, 20, 30)))
    visual = trimesh.visual.TextureVisuals(uv=np.zeros((3, 2)), material=material)
    mesh = trimesh.Trimesh(np.eye(3), [[0, 1, 2]], visual=visual, process=False)
    shown = glowing(mesh).visual.material
    assert shown.emissiveTexture.getpixel((0, 0)) == (10, 20, 30) and not any(shown.baseColorFactor[:3])
