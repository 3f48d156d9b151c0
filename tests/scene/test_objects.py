"""Objects of a scene from its configuration: added, copied, replaced, removed, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from i2v3d.artifacts.scene_spec import ActionSpec, ObjectSpec, ShapeKey, VisibilityKey
from i2v3d.config.scene import PhotoSceneConfig, SceneConfig
from i2v3d.config.sections import build
from i2v3d.errors import ConfigError, InputError
from i2v3d.scene.motion.animation import Shot
from i2v3d.scene.motion.objects import check_objects, lighting, scene_objects
from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.plan import make_plan
from tests.stages.test_scene_stage import options

ROOT = Path(__file__).parents[2]
SHOT = Shot(1, 15, 8)
OWN = {
    "foreground": ObjectSpec("foreground", "foreground", "meshes/foreground.glb", (1.0, 2.0, 0.5)),
    "background": ObjectSpec("background", "background", "meshes/background.glb", (0.0, 0.0, 0.0)),
}


@pytest.fixture
def mesh(tmp_path: Path) -> str:
    trimesh.creation.box((1.0, 1.0, 1.0)).export(tmp_path / "box.ply")
    return str(tmp_path / "box.ply")


def entry(name: str, mesh: str | None = None, copy_of: str | None = None, **changes: Any) -> dict[str, Any]:
    place = {"position_m": [1.0, 0.0, 0.0], "rotation_deg": [0.0, 0.0, 90.0], "scale": 2.0}
    values = {"role": "foreground", "place": place, "pivot_m": None, "keys": []}
    return {"name": name, "mesh": mesh, "copy_of": copy_of} | values | changes


def config(*objects: dict[str, Any], **changes: Any) -> PhotoSceneConfig:
    built = build(SceneConfig, options("coffee") | {"objects": list(objects)} | changes, "scene")
    assert isinstance(built, PhotoSceneConfig)
    return built


def made(tmp_path: Path, *objects: dict[str, Any], **changes: Any) -> dict[str, ObjectSpec]:
    return {o.name: o for o in scene_objects(config(*objects, **changes), SHOT, OWN, tmp_path / "scene")}


def transform_key(frame: int, **changes: Any) -> dict[str, Any]:
    still = {"translation_m": [0, 0, 0], "rotation_deg": [0, 0, 0], "scale": [1, 1, 1]}
    return {"frame": frame, "interpolation": "BOUNCE"} | still | changes


def test_without_entries_the_photo_s_own_objects_are_the_scene(tmp_path: Path) -> None:
    assert made(tmp_path) == OWN


def test_an_object_is_added_with_its_file_its_place_and_its_pivot(mesh: str, tmp_path: Path) -> None:
    found = made(tmp_path, entry("box one", mesh, keys=[transform_key(3)]))
    assert list(found) == ["foreground", "background", "box one"]
    added = found["box one"]
    assert (tmp_path / "scene" / added.mesh).read_bytes() == Path(mesh).read_bytes()
    assert added.pivot_m == (1.0, 0.0, 0.0) and added.keys[0].interpolation == "BOUNCE"
    np.testing.assert_allclose(np.array(added.place) @ [1, 0, 0, 1], [1, 2, 0, 1], atol=1e-12)


def test_an_entry_of_its_name_replaces_the_photo_s_own(mesh: str, tmp_path: Path) -> None:
    found = made(tmp_path, entry("foreground", mesh))
    assert set(found) == {"foreground", "background"} and found["foreground"].mesh.endswith("box.ply")


def test_objects_can_be_removed(mesh: str, tmp_path: Path) -> None:
    assert set(made(tmp_path, remove=["foreground"])) == {"background"}
    assert set(made(tmp_path, entry("a", mesh), remove=["foreground", "background"])) == {"a"}
    with pytest.raises(ConfigError, match="without any object"):
        made(tmp_path, remove=["foreground", "background"])


def test_copies_share_the_mesh(mesh: str, tmp_path: Path) -> None:
    found = made(
        tmp_path,
        entry("a", mesh),
        entry("b", copy_of="a", pivot_m=[0, 0, 9]),
        entry("c", copy_of="foreground"),
    )
    assert found["a"].mesh == found["b"].mesh and found["b"].pivot_m == (0.0, 0.0, 9.0)
    assert len(list((tmp_path / "scene" / "meshes").rglob("*.ply"))) == 1
    assert found["c"].mesh == OWN["foreground"].mesh
    # about the foreground's pivot, moved by its position
    pivot = np.array([*OWN["foreground"].pivot_m, 1.0])
    np.testing.assert_allclose(np.array(found["c"].place) @ pivot, pivot + np.eye(4)[0])
    assert found["c"].pivot_m == (2.0, 2.0, 0.5)


def test_events_reach_their_object(mesh: str, tmp_path: Path) -> None:
    found = made(
        tmp_path,
        entry("a", mesh),
        actions=[{"object": "a", "action": "walk", "start_frame": 2, "speed": 0.5, "repeat": 3.0}],
        shape_keys=[
            {"object": "a", "shape_key": "smile", "frame": 4, "value": 0.5, "interpolation": "ELASTIC"}
        ],
        visibility=[{"object": "foreground", "frame": 5, "visible": False}],
    )
    assert found["a"].actions == (ActionSpec("walk", 2, 0.5, 3.0),)
    assert found["a"].shape_keys == (ShapeKey("smile", 4, 0.5, "ELASTIC"),)
    assert found["foreground"].visibility == (VisibilityKey(5, False),)
    assert found["background"] == OWN["background"]


def seen(frame: int, name: str = "foreground") -> dict[str, Any]:
    return {"object": name, "frame": frame, "visible": True}


@pytest.mark.parametrize(
    ("objects", "changes", "message"),
    [
        ([entry("a")], {}, r"objects\[0\] \(a\) needs either mesh or copy_of"),
        ([entry("a", "M", "foreground")], {}, "needs either mesh or copy_of"),
        ([entry("a", copy_of="forground")], {}, "did you mean 'foreground'"),
        ([entry("a", copy_of="a")], {}, "itself a copy"),
        ([entry("a", "M"), entry("a", "M")], {}, "two objects called 'a'"),
        ([entry("a/../b", "M")], {}, r"objects\.0\.name"),
        ([entry("a", "M", keys=[transform_key(5), transform_key(2)])], {}, "after one at frame 5"),
        ([entry("a", "M", keys=[transform_key(16)])], {}, "uses frame 16 but the shot has frames 1 to 15"),
        ([entry("a", "M", keys=[transform_key(2, scale=[1, 0, 1])])], {}, "scale factors are positive"),
        ([], {"remove": ["cup"]}, r"remove\[0\] is 'cup'"),
        ([], {"visibility": [seen(3), seen(2)]}, r"visibility of 'foreground'\[1\] is at frame 2, after"),
        ([], {"visibility": [seen(3, "robot")]}, r"visibility\[0\]\.object is 'robot'; known: background"),
        ([], {"remove": ["foreground"], "visibility": [seen(3)]}, "object is 'foreground'"),
    ],
)
def test_impossible_objects_are_refused_at_once(objects, changes, message, mesh: str) -> None:
    objects = [item | {"mesh": mesh if item["mesh"] else None} for item in objects]
    with pytest.raises(ConfigError, match=message):
        check_objects(config(*objects, **changes), SHOT)


def test_numbers_that_are_not_finite_are_refused(mesh: str) -> None:
    with pytest.raises(ConfigError, match=r"pivot_m.*finite"):
        config(entry("a", mesh, pivot_m=[float("nan"), 0, 0]))


def test_broken_meshes_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "cut.glb").write_bytes(b"glTF")
    with pytest.raises(InputError, match=r"cut\.glb is truncated"):
        check_objects(config(entry("a", str(tmp_path / "cut.glb"))), SHOT)


def test_the_sun_stands_where_its_angles_say() -> None:
    cfg = config().lighting
    sun = {
        "azimuth_deg": 270.0,
        "elevation_deg": 30.0,
        "angle_deg": 1.0,
        "strength": 2.0,
        "colour": [1, 1, 1],
    }
    world = {"strength": 0.0, "colour": [1, 1, 1]}
    lit = build(type(cfg), {"style": "lit", "sun": sun, "world": world}, "scene.lighting")
    assert lighting(lit).sun_direction == pytest.approx((0.0, -(0.75**0.5), 0.5))
    with pytest.raises(ConfigError, match="have strength 0"):
        lighting(build(type(cfg), {"style": "lit", "sun": sun | {"strength": 0.0}, "world": world}, "l"))


def test_a_changed_texture_of_a_mesh_makes_the_scene_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan's key of a scene depends on every file that its objects refer to."""
    monkeypatch.chdir(ROOT)
    (tmp_path / "a.obj").write_text("mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd t.png\n")
    (variant,) = compose_variants(ROOT / "conf", ["scene=coffee"])
    variant.config["scene"]["objects"] = [entry("a", str(tmp_path / "a.obj"))]
    keys = []
    for number, colour in enumerate(("red", "red", "blue")):
        Image.new("RGB", (4 + number // 2, 4), colour).save(tmp_path / "t.png")
        plan = make_plan([variant], Fingerprints(tmp_path / "memo.json"), ["scene"])
        keys.append(plan.variants[0].keys["scene"])
    assert keys[0] == keys[1] != keys[2]
