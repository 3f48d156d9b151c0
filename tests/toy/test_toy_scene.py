"""Held-out clips of the toy world in Blender: the coarse passes agree with the closed-form renderer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from i2v3d.artifacts.folders import frame_name
from i2v3d.artifacts.scene_spec import SceneSpec
from i2v3d.blender.api import render_frames
from i2v3d.config.scene import PhotoSceneConfig, SceneConfig, ToySceneConfig
from i2v3d.config.sections import build
from i2v3d.errors import ConfigError, ShapeError
from i2v3d.images import read_depth, read_flow, read_mask, read_rgb
from i2v3d.progress import ignore_step
from i2v3d.stages.context import StageContext
from i2v3d.stages.scene import build_scene, check_scene
from i2v3d.toy.scene import load_clip
from i2v3d.toy.world import render
from i2v3d.toy.world.charts import extent_m, pack, solid_charts
from i2v3d.toy.world.clips import held_out_clip
from i2v3d.toy.world.meshes import toy_meshes
from i2v3d.toy.world.render import Renderer, coverage, flow
from i2v3d.toy.world.sampling import captions, is_held_out
from i2v3d.toy.world.solids import BOX, ELLIPSOID, FRUSTUM
from i2v3d.workflow.composition import compose_variants

CONF = Path(__file__).parents[2] / "conf"
WIDTH, HEIGHT, FRAMES = 96, 64, 3
# Clips in which much moves: dotted cactus (heading, two joints), striped robot (camera, travel, joint),
# dotted duck (camera, travel, heading, joint).
MOVING = (18, 30, 38)


def toy_config(index: int, *more: str) -> ToySceneConfig:
    words = ["scene=toy", f"scene.index={index}", f"scene.width={WIDTH}", f"scene.height={HEIGHT}"]
    (variant,) = compose_variants(CONF, [*words, f"scene.frames={FRAMES}", *more])
    cfg = build(SceneConfig, variant.config["scene"], "scene")
    assert isinstance(cfg, ToySceneConfig)
    return cfg


def stacked(folder: Path, pass_name: str) -> NDArray[Any]:
    """All frames of one pass, (F, H, W[, channels])."""
    readers: dict[str, tuple[str, Callable[[Path], NDArray[Any]]]] = {
        "depth": ("exr", read_depth),
        "flow": ("exr", read_flow),
        "rgb": ("png", read_rgb),
        "photo": ("png", read_rgb),
    }
    suffix, read = readers.get(pass_name, ("png", read_mask))
    count = FRAMES - 1 if pass_name == "flow" else FRAMES
    return np.stack([read(folder / pass_name / frame_name(n, suffix)) for n in range(1, count + 1)])


@dataclass
class Built:
    """A scene stage's folder and its coarse passes."""

    cfg: ToySceneConfig
    scene: Path
    render: Path


@pytest.fixture(scope="module", params=MOVING)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("toy")
    made = Built(toy_config(request.param), folder / "scene", folder / "render")
    made.scene.mkdir()
    made.render.mkdir()
    build_scene(made.cfg, {}, made.scene, StageContext(device="cpu", max_batch=0, work=folder / "work"))
    numbers = list(range(1, FRAMES + 1))
    render_frames(made.scene, made.render, frames=numbers, samples=8, device="cpu", on_frame=ignore_step)
    return made


# ---------------------------------------------------------------- Blender against the closed form
@pytest.mark.slow
def test_masks_agree_in_every_frame_and_would_not_without_the_motion(built: Built) -> None:
    seen, true = stacked(built.render, "fg_mask"), stacked(built.scene / "truth", "mask")
    overlap = [(a & b).sum() / (a | b).sum() for a, b in zip(seen, true, strict=True)]
    assert min(overlap) > 0.98
    assert (seen[0] & true[-1]).sum() / (seen[0] | true[-1]).sum() < 0.95


@pytest.mark.slow
def test_depth_agrees_within_a_percent(built: Built) -> None:
    depth, true = stacked(built.render, "depth"), stacked(built.scene / "truth", "depth")
    seen, mask = stacked(built.render, "fg_mask"), stacked(built.scene / "truth", "mask")
    sky = np.isinf(true)
    assert sky.any() == (built.cfg.index == 38) and (depth[sky] > 50).all()
    error = np.abs(depth - true) / np.where(sky, 1.0, true)
    both, ground = seen & mask, ~seen & ~mask & (true < 50)
    for where in (both, ground):
        # All but pixels on an edge between two parts, which rounding may give to either.
        assert (error[where] < 0.01).mean() > 0.995
        assert error[where].mean() < 0.002


@pytest.mark.slow
def test_flow_follows_camera_object_and_joints(built: Built) -> None:
    shift = flow(load_clip(built.cfg), WIDTH, HEIGHT)[0].permute(0, 2, 3, 1).numpy()
    mask = stacked(built.render, "fg_mask")[:-1] & stacked(built.scene / "truth", "mask")[:-1]
    error = np.linalg.norm(stacked(built.render, "flow") - shift, axis=-1)[mask]
    moved = np.linalg.norm(shift, axis=-1)[mask]
    assert np.median(error) < 0.05 < np.percentile(moved, 75)
    assert (error < 0.25).mean() > 0.98


@pytest.mark.slow
def test_patterns_and_colours_agree_with_the_coarse_render(built: Built) -> None:
    coarse = Renderer(WIDTH, HEIGHT, samples=2, chunk=1, compile=False, coarse="flat")(
        load_clip(built.cfg)
    ).coarse[0]
    true = coarse.permute(0, 2, 3, 1).numpy() * 255
    error = (stacked(built.render, "rgb") - true) ** 2
    shifted = (np.roll(true, 3, axis=2) - true) ** 2
    assert 10 * np.log10(255**2 / error.mean()) > 30
    mask = stacked(built.scene / "truth", "mask")
    assert error[mask].mean() < 0.1 * shifted[mask].mean(), "the pattern is where it should be"


# ---------------------------------------------------------------- what the stage writes
@pytest.mark.slow
def test_photo_and_mask_are_the_truth_of_frame_one(built: Built) -> None:
    photo, mask = stacked(built.scene / "truth", "photo"), stacked(built.scene / "truth", "mask")
    np.testing.assert_array_equal(read_rgb(built.scene / "photo.png"), photo[0])
    np.testing.assert_array_equal(read_mask(built.scene / "mask.png"), mask[0])
    lit = Renderer(WIDTH, HEIGHT, samples=built.cfg.samples, chunk=1, compile=False, coarse="flat")(
        load_clip(built.cfg)
    )
    assert np.abs(lit.photo[0].permute(0, 2, 3, 1).numpy() * 255 - photo).max() <= 0.51
    assert json.loads((built.scene / "metrics.json").read_text())["mask_coverage"] == mask[0].mean()
    plate = read_rgb(built.scene / "plate.png").astype(float)
    assert np.abs(plate - photo[0])[mask[0]].mean() > 20 > np.abs(plate - photo[0])[:8].max()


@pytest.mark.slow
def test_the_scene_has_a_key_for_every_frame(built: Built) -> None:
    spec = SceneSpec.load(built.scene / "scene.json")
    assert [o.name for o in spec.objects if o.role == "background"] == ["ground", "sky"]
    assert [k.frame for k in spec.camera] == [1, 2, 3]
    for part in spec.foreground():
        assert [k.frame for k in part.keys] == [1, 2, 3]
        turns = np.diff([k.rotation_deg for k in part.keys], axis=0)
        assert np.abs(turns).max() < 90, "no full turn between two frames"
    assert spec.notes["caption"] == built.cfg.caption == captions(load_clip(built.cfg))[0]


# ---------------------------------------------------------------- clips by number
def test_a_clip_is_held_out_and_depends_on_its_number_only() -> None:
    clip, again = (held_out_clip(2026, 512, 7, frames) for frames in (15, 3))
    assert bool(is_held_out(clip).all())
    assert torch.allclose(clip.eye[:, [0, 7, 14]], again.eye, atol=1e-5)
    assert torch.allclose(clip.bend[:, [0, 7, 14]], again.bend, atol=1e-5)
    assert torch.equal(clip.palette, again.palette)
    assert not torch.equal(clip.palette, held_out_clip(2026, 512, 8, 15).palette)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("scene.index=1000", "held-out clip 1000 does not exist; scene.index counts from 0 to 999"),
        ("scene.index=-1", "scene.index is -1; expected a whole number"),
        ("scene.index=first", "scene.index is 'first'; expected a whole number"),
        ("scene.variants=32", "bank holds 32 variants a shape but 32 are held out"),
        ("scene.source=movie", "scene.source is 'movie'"),
        ("scene.photo=cup.png", "scene.photo is not an option"),
    ],
)
def test_bad_clips_are_refused_in_one_line(word: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        toy_config(0, word)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_a_bad_number_is_refused_when_the_caption_is_given_by_hand() -> None:
    cfg = toy_config(0, "scene.caption=cup", "scene.index=1000")
    with pytest.raises(ConfigError, match="counts from 0 to 999"):
        check_scene(cfg)


def test_scenes_of_either_source_are_composed_with_their_prompt() -> None:
    assert toy_config(2).prompt == f"a photo of a {toy_config(2).caption}"
    (variant,) = compose_variants(CONF, ["scene=coffee"])
    assert isinstance(build(SceneConfig, variant.config["scene"], "scene"), PhotoSceneConfig)
    assert variant.config["lora"]["prompt"] == variant.config["keyframes"]["prompt"] == "a sks cup"
    (variant,) = compose_variants(CONF, ["scene=toy", "scene.index=2"])
    assert variant.config["lora"]["prompt"] == toy_config(2).prompt


# ---------------------------------------------------------------- charts
@pytest.mark.parametrize(
    ("kind", "taper", "area"),
    [
        (ELLIPSOID, 0.0, 4 * np.pi),
        (BOX, 0.0, 24.0),
        (FRUSTUM, 0.0, 6 * np.pi),
        (FRUSTUM, 0.5, np.pi * (0.5**2 + 1.5**2 + 2 * np.hypot(2, 1))),
    ],
)
def test_charts_cover_the_solid(kind: int, taper: float, area: float) -> None:
    found = 0.0
    for chart in solid_charts(kind, taper):
        a, b, c = (chart.point(chart.uv)[chart.faces[:, corner]] for corner in range(3))
        found += float(np.linalg.norm(np.cross(b - a, c - a), axis=-1).sum() / 2)
    assert found == pytest.approx(area, rel=3e-3)


def test_the_length_of_a_chart_is_that_of_its_longest_lines() -> None:
    (ball,) = solid_charts(ELLIPSOID, 0.0)
    assert extent_m(ball.point) == pytest.approx((2 * np.pi, np.pi), rel=0.01)


def test_an_atlas_holds_every_chart_once() -> None:
    sizes = [(5, 3), (2, 2), (7, 1), (4, 6), (1, 1)]
    slots, width, height = pack(sizes)
    taken = np.zeros((height, width), int)
    for slot in slots:
        taken[slot.top : slot.top + slot.height, slot.left : slot.left + slot.width] += 1
    assert [(s.width, s.height) for s in slots] == sizes
    assert taken.max() == 1 and taken.sum() == sum(w * h for w, h in sizes)


def test_meshes_are_made_of_one_scene() -> None:
    clip = held_out_clip(2026, 512, 0, 2)
    with pytest.raises(ShapeError, match="one scene at a time, got 2"):
        toy_meshes(clip.rows(torch.tensor([0, 0])), WIDTH, HEIGHT)


def test_large_pictures_are_traced_in_pieces_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = held_out_clip(2026, 512, 0, 2)
    whole, seen = (
        Renderer(48, 32, samples=2, chunk=1, compile=False, coarse="flat")(clip),
        coverage(clip, 48, 32),
    )
    monkeypatch.setattr(render, "RAYS_AT_ONCE", 1001)
    pieces = Renderer(48, 32, samples=2, chunk=1, compile=False, coarse="flat")(clip)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(whole, pieces, strict=True))
    assert torch.equal(coverage(clip, 48, 32), seen) and seen.any() and not seen.all()
