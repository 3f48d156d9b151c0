"""A scene in the studio: it moves as the render does, and its file means what the same file by hand means."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trimesh

pytest.importorskip("fast_simplification", reason="the studio needs it: pip install 'i2v3d[studio]'")

from i2v3d.artifacts.rendered_cameras import RenderedCameras
from i2v3d.blender import api
from i2v3d.blender.motion import blend_look
from i2v3d.config.scene import PhotoSceneConfig
from i2v3d.errors import ConfigError
from i2v3d.geometry.cameras import invert_pose, rotation, transform
from i2v3d.progress import ignore_step
from i2v3d.scene.from_photo import build_photo
from i2v3d.studio import bodies, surfaces
from i2v3d.studio.camera_edits import key_edits, recipe_edits
from i2v3d.studio.place import Place
from i2v3d.studio.session import Session
from i2v3d.studio.shown import asked_blender
from i2v3d.studio.sight import Body, hole_share, turned_deg, warnings_at, winding
from i2v3d.studio.surfaces import page_mesh, thinned
from i2v3d.studio.yaml_edit import Edit
from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.plan import make_plan

TOY = ("scene.width=96", "scene.height=64", "scene.frames=8")
SMALL = (*TOY, "scene.segment.iterations=1")
BY_HAND = """\
defaults: [photo, _self_]
name: coffee
photo: scenes/coffee/photo.jpg
class_name: cup
segment:
  box: [0.11, 0.02, 0.82, 0.99]
foreground: {stance: lying, distance_m: 0.5}
background: {horizon: -1.6, wall_distance_m: 3.0}
camera:
  keys:
    - frame: 4
      position_m: [0.1, 0.05, 0.5]
      look_at_m: null
      rotation_deg: [40, 0, 5]
      fov_deg: null
      interpolation: BEZIER
  moves:
    - {kind: crane, amount: 0.02, start_frame: 1, end_frame: 8, interpolation: LINEAR}
keys:
  - {frame: 1, translation_m: [0, 0, 0], rotation_deg: [0, 0, 0], scale: [1, 1, 1], interpolation: BEZIER}
  - {frame: 5, translation_m: [0.01, 0, 0], rotation_deg: [0, 0, 20], scale: [1, 1, 1], interpolation: LINEAR}
  - {frame: 8, translation_m: [0, 0, 0], rotation_deg: [0, 0, -12], scale: [1, 1, 1], interpolation: BEZIER}
"""


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.chdir(tmp_path)
    made = Session(Place.of(tmp_path), "coffee", SMALL, lambda: None)
    made.show()
    yield made
    made.close()


def _pose(rotation_deg: list[float], position_m: list[float]) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", rotation_deg, degrees=True).as_matrix() @ np.diag([1, -1, -1])
    pose[:3, 3] = position_m
    return pose


def _edit_as_by_hand(session: Session) -> None:
    camera = session.scene["camera"]
    session.edit(*key_edits(4, _pose([40, 0, 5], [0.1, 0.05, 0.5]), None, "BEZIER", camera, moves_go=True))
    session.edit(*recipe_edits("crane", 0.02, 1, 8, "LINEAR", 0.5, session.scene["camera"]["moves"]))
    key = {"frame": 5, "translation_m": [0.01, 0.0, 0.0], "rotation_deg": [0.0, 0.0, 20.0], "scale": [1.0, 1.0, 1.0],
           "interpolation": "LINEAR"}  # fmt: skip
    session.edit(Edit(("keys", 1), key, "insert"))


def _keys(conf: Path, memo: Path) -> dict[str, str]:
    return make_plan(compose_variants(conf, ["scene=coffee", *SMALL]), Fingerprints(memo)).variants[0].keys


@pytest.mark.slow
def test_what_is_edited_means_what_is_written_by_hand(session: Session, tmp_path: Path) -> None:
    before = session.document.text
    _edit_as_by_hand(session)
    file = session.document.file
    assert "# fractions of the photo" in file.read_text()
    edited = _keys(session.place.again().conf, tmp_path / "memo")
    file.write_text(BY_HAND)
    assert _keys(session.place.again().conf, tmp_path / "memo") == edited
    assert session.document.changed_outside()
    with pytest.raises(ConfigError, match="somebody else"):
        session.undo()
    file.write_text(session.document.text)
    for _ in range(3):
        session.undo()
    assert file.read_text() == before


@pytest.mark.slow
def test_scenes_are_composed_by_several_clicks_at_once(session: Session) -> None:
    with ThreadPoolExecutor(4) as clicks:
        for done in [clicks.submit(session.tell_words, (*SMALL, f"seed={n}")) for n in range(4)] + [
            clicks.submit(Session, session.place, "coffee", SMALL, lambda: None) for _ in range(4)
        ]:
            if isinstance(other := done.result(), Session):
                other.close()
    assert session.config["seed"] in range(4)


def test_what_cannot_be_is_told_and_not_written(session: Session) -> None:
    before = session.document.text
    late = Edit(("camera", "moves", 0, "end_frame"), 99)
    for edit in (late, Edit(("camera", "fov_deg"), -4), Edit(("class_name",), "${oc.env:HOME}")):
        with pytest.raises(ConfigError):
            session.edit(edit)
    assert session.document.file.read_text() == before and not session.document.can_undo


@pytest.mark.slow
def test_the_page_moves_as_the_render_does(session: Session, tmp_path: Path) -> None:
    _edit_as_by_hand(session)
    cfg, shown, stage = session.cfg, session.shown, session.stage
    assert isinstance(cfg, PhotoSceneConfig) and shown is not None and stage is not None
    scene, work, render = (tmp_path / name for name in ("scene", "work", "render"))
    for folder in (scene, work):
        folder.mkdir()
    build_photo(cfg, scene, work, "cpu", partial(api.inspect_mesh, max_faces=cfg.max_faces, log_dir=work))
    api.save_blend(scene, max_faces=cfg.max_faces)
    api.render_frames(scene, render, frames=range(1, 9), samples=1, device="cpu", on_frame=ignore_step)
    cameras = RenderedCameras.load(render / "cameras.json")
    poses = np.stack([view.c2w for view in shown.views])
    np.testing.assert_allclose(poses, invert_pose(cameras.w2c), atol=2e-6)
    np.testing.assert_allclose([view.focal_px for view in shown.views], cameras.K[:, 0, 0], rtol=1e-6)
    exact = asked_blender(cfg, shown, stage.folder)
    ends = [0, 4, 5, 6, 7]  # keys, and between them where no curve is Blender's own
    np.testing.assert_allclose(shown.poses["foreground"][ends], exact.poses["foreground"][ends], atol=1e-6)
    assert exact.exact and not shown.exact
    look = blend_look(scene / "scene.blend", 1, 8)
    assert {item.name: item.role for item in look.objects} == {
        "foreground": "foreground",
        "background": "background",
    }
    np.testing.assert_allclose(look.w2c, cameras.w2c, atol=2e-6)
    moved = next(item.surface.points_m for item in look.objects if item.name == "foreground")
    for frame in range(8):  # the surface goes where the pose says
        pose = exact.poses["foreground"][frame] @ np.linalg.inv(exact.poses["foreground"][0])
        np.testing.assert_allclose(transform(pose, moved[0]), moved[frame], atol=1e-5)


def test_a_heavy_mesh_is_thinned_for_the_page_and_stays_whole_for_the_render(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 10_000  # instead of a number for which a mesh takes a second
    for module in (surfaces, bodies):
        monkeypatch.setattr(module, "MOST_FACES", most)
    ball = trimesh.creation.icosphere(5, 1.0)
    ball.export(tmp_path / "ball.glb")
    place = {"position_m": [0.1, 0.3, 0.05], "rotation_deg": [0.0, 0.0, 0.0], "scale": 0.05}
    added = {"name": "ball", "mesh": "ball.glb", "copy_of": None, "role": "foreground", "place": place,
             "pivot_m": None, "keys": []}  # fmt: skip
    session.edit(Edit(("objects", 0), added, "insert"))
    assert session.shown is not None
    (mesh,) = {item.mesh for item in session.shown.objects if item.name == "ball"}
    path = session.mesh_folder() / mesh
    assert len(page_mesh(path).faces) <= most < len(ball.faces)
    assert path.read_bytes() == (tmp_path / "ball.glb").read_bytes()


@pytest.mark.slow
def test_a_toy_clip_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    toy = Session(Place.of(tmp_path), "toy", TOY, lambda: None)
    toy.show()
    assert toy.shown is not None and toy.shown.exact and len(toy.shown.views) == 8
    assert {"ground", "sky"} < set(toy.shown.poses)
    toy.close()


def test_what_is_wrong_with_a_view_is_told(session: Session) -> None:
    shown = session.shown
    assert shown is not None and session.stage is not None
    bodies = {
        name: Body.of(thinned(page_mesh(session.mesh_folder() / item.mesh), 4000), name == "foreground")
        for name, item in ((item.name, item) for item in shown.objects)
    }
    assert warnings_at(shown, bodies, 0, inflated=True) == []
    turned = session.tried([Edit(("camera", "moves", 0, "amount"), 60)])
    assert any("one photo holds" in line for line in warnings_at(turned, bodies, 7, inflated=True))
    assert turned_deg(shown.photo_view, shown.views[0], np.eye(4), shown) == pytest.approx(0, abs=1e-4)
    away = session.tried([Edit(("camera", "moves", 0), {"kind": "pan", "amount": 170.0, "start_frame": 1,
                                                        "end_frame": 8, "interpolation": "LINEAR"})])  # fmt: skip
    told = warnings_at(away, bodies, 7, inflated=True)
    assert any("out of sight" in line for line in told) and any("hole" in line for line in told)
    assert hole_share([], shown.views[0], shown) == 1.0


def test_inside_and_outside_of_a_closed_surface() -> None:
    ball = np.asarray(trimesh.creation.icosphere(2, 1.0).triangles)
    assert winding(ball, np.array([0.2, 0.1, -0.3])) == pytest.approx(1, abs=1e-6)
    assert winding(ball, np.array([2.0, 0.0, 0.0])) == pytest.approx(0, abs=1e-6)
    turned = ball @ rotation((0, 0, 1), 30).T[:3, :3]
    assert winding(turned, np.zeros(3)) == pytest.approx(1, abs=1e-6)
