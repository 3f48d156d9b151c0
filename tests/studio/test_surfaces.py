"""Meshes for the page: how many faces it gets, and that they look and bend as the render's."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from PIL import Image

pytest.importorskip("fast_simplification", reason="the studio needs it: pip install 'i2v3d[studio]'")

from i2v3d.blender.motion import Surface
from i2v3d.studio.surfaces import glowing, thin_surface, thinned


def test_the_page_gets_a_thinned_copy_that_looks_the_same() -> None:
    ball, most = trimesh.creation.icosphere(6, 1.0), 60_000
    assert len(ball.faces) > most
    ball.visual = trimesh.visual.ColorVisuals(vertex_colors=np.uint8(127 * ball.vertices + 128))
    copy = thinned(ball, most)
    assert 0.9 * most < len(copy.faces) <= most
    np.testing.assert_allclose(np.linalg.norm(copy.vertices, axis=1), 1, atol=1e-3)
    expected = np.uint8(127 * np.asarray(copy.vertices) + 128)
    assert np.abs(copy.visual.vertex_colors[:, :3].astype(int) - expected).max() <= 3
    assert thinned(copy, most) is copy


def test_textures_shine_by_themselves_as_flat_renders_show_them() -> None:
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.new("RGB", (4, 4), (10, 20, 30)))
    visual = trimesh.visual.TextureVisuals(uv=np.zeros((3, 2)), material=material)
    mesh = trimesh.Trimesh(np.eye(3), [[0, 1, 2]], visual=visual, process=False)
    shown = glowing(mesh).visual.material
    assert shown.emissiveTexture.getpixel((0, 0)) == (10, 20, 30) and not any(shown.baseColorFactor[:3])


def test_a_thinned_surface_bends_as_the_whole_one() -> None:
    ball = trimesh.creation.icosphere(5, 1.0)
    grown = np.stack([ball.vertices, 2 * ball.vertices])
    copy = thin_surface(Surface(grown, ball.faces, np.zeros_like(ball.vertices, np.uint8)), 2000)
    assert len(copy.faces) <= 2000 and copy.points_m.shape == (2, len(copy.colours), 3)
    np.testing.assert_allclose(copy.points_m[1], 2 * copy.points_m[0])
    volume = trimesh.Trimesh(copy.points_m[0], copy.faces, process=False).volume
    assert volume == pytest.approx(ball.volume, rel=0.02)
    assert thin_surface(copy, 2000) is copy
