"""What happens to objects: the repository's own rigged figure through GLB and FBX, actions, shape keys,
visibility, placing, copies, light; all as Blender evaluates it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial import cKDTree

from i2v3d.artifacts.scene_spec import (
    ActionSpec,
    Lighting,
    ObjectSpec,
    SceneSpec,
    ShapeKey,
    TransformKey,
    VisibilityKey,
)
from i2v3d.blender import api
from i2v3d.config.render import ViewsConfig
from i2v3d.errors import InputError
from i2v3d.geometry.cameras import look_at
from i2v3d.images import read_flow, read_mask, read_rgb
from i2v3d.progress import ignore_step
from tests.support.blender_scenes import box, camera_key, still_scene, write_glb

pytestmark = pytest.mark.slow

CAP = 100_000
FORMATS = ("glb", "fbx")
# Evaluates .blend files: the vertices of their meshes at frames, as JSON of file -> name -> frame -> list.
EVALUATE = """
import json, os, sys, bpy, numpy as np
found = {}
for blend in json.loads(sys.argv[1]):
    bpy.ops.wm.open_mainfile(filepath=blend)
    scene = bpy.context.scene
    for frame in json.loads(sys.argv[2]):
        scene.frame_set(frame)
        depsgraph = bpy.context.evaluated_depsgraph_get()
        for item in scene.objects:
            if item.type == "MESH":
                evaluated = item.evaluated_get(depsgraph)
                pose = np.array(evaluated.matrix_world)
                points = np.array([v.co for v in evaluated.to_mesh().vertices]) @ pose[:3, :3].T + pose[:3, 3]
                found.setdefault(blend, {}).setdefault(item.name, {})[frame] = points.tolist()
json.dump(found, open(sys.argv[3], "w"))
os._exit(0)
"""
# The figure as it was built, before any file format, in a file for each of some actions.
BUILT = """
import os, sys, bpy
from i2v3d.blender.inside.figure import build_figure
from mathutils import Matrix
rig, body = build_figure()
for name in sys.argv[2:]:
    for bone in rig.pose.bones:  # what an action does not move stays where another one left it
        bone.matrix_basis = Matrix()
    rig.animation_data.action = bpy.data.actions[name]
    rig.animation_data.action_slot = rig.animation_data.action.slots[0]
    bpy.ops.wm.save_as_mainfile(filepath=f"{sys.argv[1]}/{name}.blend")
os._exit(0)
"""

Frames = dict[int, np.ndarray]  # frame -> (n, 3) evaluated vertices in the world


def python(code: str, *words: str) -> None:
    subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True, timeout=120)


def vertices(blends: list[Path], frames: list[int]) -> list[dict[str, Frames]]:
    """Of every file, object -> frame -> vertices; all files are opened by one Blender."""
    out = blends[0].with_suffix(".json")
    python(EVALUATE, json.dumps([str(blend) for blend in blends]), json.dumps(frames), str(out))
    found = json.loads(out.read_text())
    return [
        {
            name: {int(frame): np.array(points) for frame, points in rows.items()}
            for name, rows in found[str(blend)].items()
        }
        for blend in blends
    ]


def figures(blends: list[Path], frames: list[int]) -> list[Frames]:
    """The figure's vertices of every file."""
    return [found["figure"] for found in vertices(blends, frames)]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Frames]:
    """Action -> the figure as it was built, at every frame of the action."""
    folder, actions = tmp_path_factory.mktemp("built"), ["walk", "wave"]
    python(BUILT, str(folder), *actions)
    found = figures([folder / f"{name}.blend" for name in actions], list(range(1, 26)))
    return dict(zip(actions, found, strict=True))


@pytest.fixture(scope="module")
def figure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with figure.glb and figure.fbx."""
    folder = tmp_path_factory.mktemp("figure")
    for kind in FORMATS:
        api.save_figure(folder / f"figure.{kind}")
    return folder


def scene_of(
    folder: Path, figure: Path, kind: str = "glb", frames: int = 30, fps: int = 24, **changes
) -> SceneSpec:
    """A scene of the figure, 2 m before the camera."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"figure.{kind}").write_bytes((figure / f"figure.{kind}").read_bytes())
    item = ObjectSpec("figure", "foreground", f"figure.{kind}", (0.0, 0.0, 0.0), **changes)
    pose = look_at((0.0, -2.0, 0.5), (0.0, 0.0, 0.5))
    spec = replace(still_scene(folder, (item,), frames=frames, pose=pose), fps=fps)
    spec.save(folder / "scene.json")
    api.save_blend(folder, max_faces=CAP)
    return spec


# ---------------------------------------------------------------- the figure and its round trips
def test_the_figure_is_the_same_every_time_and_says_what_it_holds(figure: Path, tmp_path: Path) -> None:
    found = api.inspect_mesh(figure / "figure.glb", max_faces=CAP)
    assert set(found.actions) == {"walk", "wave", "jump"} and found.shape_keys == ("puffed",)
    assert all(seconds == pytest.approx(1.0) for seconds in found.actions.values()) and len(found.bones) == 11
    assert np.ptp(found.vertices_m[:, 2]) == pytest.approx(1.0, abs=0.05)
    api.save_figure(tmp_path / "again.glb")
    again = api.inspect_mesh(tmp_path / "again.glb", max_faces=CAP)
    np.testing.assert_array_equal(again.vertices_m, found.vertices_m)
    np.testing.assert_array_equal(again.faces, found.faces)


def test_the_shipped_figure_is_the_one_that_the_builder_makes(figure: Path) -> None:
    shipped = Path(__file__).parents[2] / "scenes" / "coffee" / "figure.glb"
    ours, theirs = (api.inspect_mesh(path, max_faces=CAP) for path in (figure / "figure.glb", shipped))
    np.testing.assert_allclose(ours.vertices_m, theirs.vertices_m, atol=1e-6)
    assert ours.actions == theirs.actions


@pytest.mark.parametrize("action", ["walk", "wave"])
@pytest.mark.parametrize("kind", FORMATS)
def test_the_rig_survives_the_file(
    kind: str, action: str, figure: Path, built: dict[str, Frames], tmp_path: Path
) -> None:
    """Every vertex at every third frame, against the figure before it was written."""
    frames = list(range(1, 26, 3))
    scene_of(tmp_path, figure, kind, actions=(ActionSpec(action, 1, 1.0, 1.0),))
    (read,) = figures([tmp_path / "scene.blend"], frames)
    made = built[action]
    moved = max(np.abs(made[frame] - made[1]).max() for frame in frames)
    assert moved > 0.05
    for frame in frames:  # formats split vertices at texture seams, so each is compared with the nearest
        for a, b in ((made, read), (read, made)):
            assert cKDTree(a[frame]).query(b[frame])[0].max() < 1e-5


@pytest.mark.parametrize("kind", FORMATS)
def test_an_action_keeps_its_seconds_at_another_rate_speed_and_start(
    kind: str, figure: Path, built: dict[str, Frames], tmp_path: Path
) -> None:
    """At 12 frames a second, twice as fast, from frame 5 on: a second of 24 keys takes 6 frames; repeated once."""
    scene_of(tmp_path, figure, kind, fps=12, actions=(ActionSpec("walk", 5, 2.0, 2.0),))
    (read,) = figures([tmp_path / "scene.blend"], [1, 5, 7, 9, 13, 17, 30])
    for frame, source in ((1, 1), (5, 1), (7, 9), (9, 17), (13, 9), (17, 1), (30, 1)):
        assert cKDTree(read[frame]).query(built["walk"][source])[0].max() < 1e-4, frame


def test_actions_follow_each_other(figure: Path, tmp_path: Path) -> None:
    actions = (ActionSpec("wave", 1, 1.0, 1.0), ActionSpec("walk", 13, 1.0, 1.0))
    scene_of(tmp_path / "both", figure, actions=actions)
    scene_of(tmp_path / "wave", figure, actions=actions[:1])
    scene_of(tmp_path / "walk", figure, actions=actions[1:])
    both, wave, walk = figures([tmp_path / n / "scene.blend" for n in ("both", "wave", "walk")], [7, 19])
    np.testing.assert_allclose(both[7], wave[7], atol=1e-6)
    legs = walk[19][:, 2] < 0.3  # of what both move, the later one holds
    np.testing.assert_allclose(both[19][legs], walk[19][legs], atol=1e-6)
    assert not np.allclose(both[19][legs], wave[19][legs], atol=1e-2)


def test_without_an_action_the_rig_rests(figure: Path, built: dict[str, Frames], tmp_path: Path) -> None:
    scene_of(tmp_path, figure)
    (found,) = figures([tmp_path / "scene.blend"], [1, 9])
    np.testing.assert_array_equal(found[1], found[9])
    assert not np.allclose(found[1].max(axis=0), built["wave"][1].max(axis=0))


@pytest.mark.parametrize("kind", FORMATS)
def test_an_action_that_is_not_there_names_those_that_are(kind: str, figure: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no action 'run'; figure.{kind} holds 'jump', 'walk', 'wave'"):
        scene_of(tmp_path, figure, kind, actions=(ActionSpec("run", 1, 1.0, 1.0),))


# ---------------------------------------------------------------- shape keys, visibility, place
@pytest.mark.parametrize("kind", FORMATS)
def test_shape_keys_move_the_mesh_by_their_value(kind: str, figure: Path, tmp_path: Path) -> None:
    keys = (ShapeKey("puffed", 1, 0.0, "LINEAR"), ShapeKey("puffed", 9, 1.0, "CONSTANT"))
    scene_of(tmp_path, figure, kind, shape_keys=keys)
    (found,) = figures([tmp_path / "scene.blend"], [1, 5, 9, 20])
    np.testing.assert_allclose(found[5], (found[1] + found[9]) / 2, atol=1e-6)
    np.testing.assert_array_equal(found[20], found[9])
    belly = (np.abs(found[1][:, 2] - 0.6) < 0.05) & (np.abs(found[1][:, 0]) < 0.09)
    assert found[9][belly, 0] == pytest.approx(1.35 * found[1][belly, 0], abs=1e-5)


def test_a_shape_key_that_is_not_there_is_refused(figure: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no shape key 'pufed'; did you mean 'puffed'"):
        scene_of(tmp_path, figure, shape_keys=(ShapeKey("pufed", 1, 1.0, "LINEAR"),))


def test_objects_appear_and_vanish(tmp_path: Path) -> None:
    box(tmp_path / "box.glb", (0.0, 4.0, 0.0), (1.0, 1.0, 1.0))
    plane = np.array([[-9.0, 6, -9], [9, 6, -9], [9, 6, 9], [-9, 6, 9]])
    write_glb(tmp_path / "wall.glb", plane, np.array([[0, 1, 2], [0, 2, 3]]))
    seen = (VisibilityKey(3, True), VisibilityKey(5, False))
    objects = (
        ObjectSpec("box", "foreground", "box.glb", (0.0, 4.0, 0.0), visibility=seen),
        ObjectSpec("wall", "background", "wall.glb", (0.0, 6.0, 0.0)),
    )
    still_scene(tmp_path, objects, frames=6)
    api.save_blend(tmp_path, max_faces=CAP)
    api.render_frames(
        tmp_path, tmp_path / "out", frames=range(1, 7), samples=1, device="cpu", on_frame=ignore_step
    )
    shown = [read_mask(tmp_path / "out" / "fg_mask" / f"{n:04d}.png").any() for n in range(1, 7)]
    assert shown == [False, False, True, True, False, False]


def test_a_place_turns_scales_and_moves_before_the_keys_do(figure: Path, tmp_path: Path) -> None:
    turned = ((0.0, -2.0, 0.0, 1.0), (2.0, 0.0, 0.0, 0.5), (0.0, 0.0, 2.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    keys = (TransformKey(1, (0.0, 0.0, 0.25), (0.0, 0.0, 0.0), (1.0, 1.0, 0.5), "CONSTANT"),)
    scene_of(tmp_path / "plain", figure)
    scene_of(tmp_path / "placed", figure, place=turned, keys=keys)
    plain, placed = figures([tmp_path / n / "scene.blend" for n in ("plain", "placed")], [1])
    expected = plain[1] @ np.array(turned)[:3, :3].T + np.array(turned)[:3, 3]
    np.testing.assert_allclose(placed[1], expected * [1, 1, 0.5] + [0, 0, 0.25], atol=1e-5)


def test_an_exported_glb_moves_as_the_scene_does(figure: Path, tmp_path: Path) -> None:
    """Skeleton, shape key, object keys and place, sampled into one animation, as an object of a new scene."""
    keys = (
        TransformKey(1, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "LINEAR"),
        TransformKey(9, (0.4, 0.0, 0.1), (0.0, 0.0, 60.0), (1.0, 1.0, 1.2), "LINEAR"),
    )
    happens = {
        "actions": (ActionSpec("walk", 2, 1.0, 1.0),),
        "shape_keys": (ShapeKey("puffed", 1, 0.0, "LINEAR"), ShapeKey("puffed", 9, 1.0, "LINEAR")),
        "keys": keys,
        "place": ((0.0, -0.5, 0.0, 0.2), (0.5, 0.0, 0.0, 0.0), (0.0, 0.0, 0.5, 0.0), (0.0, 0.0, 0.0, 1.0)),
    }
    spec = scene_of(tmp_path / "scene", figure, frames=9, **happens)
    (tmp_path / "again").mkdir()
    api.export_scene(tmp_path / "scene", tmp_path / "again" / "figure.glb")
    (name,) = api.inspect_mesh(tmp_path / "again" / "figure.glb", max_faces=CAP).actions
    scene_of(tmp_path / "twice", tmp_path / "again", frames=9, actions=(ActionSpec(name, 1, 1.0, 1.0),))
    blends = [tmp_path / name / "scene.blend" for name in ("scene", "twice")]
    before, after = (next(iter(found.values())) for found in vertices(blends, [1, 4, 9]))
    assert np.abs(before[9] - before[1]).max() > 0.1 and spec.frames == 9
    for frame in (1, 4, 9):
        assert cKDTree(after[frame]).query(before[frame])[0].max() < 1e-4, frame


def test_a_shot_shows_any_part_of_the_timeline(figure: Path, tmp_path: Path) -> None:
    """Frames 6 to 9 of a walk, numbered from 1, are those of the whole shot; flow and cameras, too."""
    spec = scene_of(tmp_path / "whole", figure, frames=9, actions=(ActionSpec("walk", 1, 1.0, 1.0),))
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "figure.glb").write_bytes((figure / "figure.glb").read_bytes())
    replace(spec, start_frame=6, frames=4).save(tmp_path / "part" / "scene.json")
    api.save_blend(tmp_path / "part", max_faces=CAP)
    for name, frames in (("whole", range(6, 10)), ("part", range(1, 5))):
        out = tmp_path / name / "out"
        api.render_frames(tmp_path / name, out, frames=frames, samples=2, device="cpu", on_frame=ignore_step)
    for n in range(1, 5):
        files = [tmp_path / "whole/out/rgb" / f"{n + 5:04d}.png", tmp_path / "part/out/rgb" / f"{n:04d}.png"]
        np.testing.assert_array_equal(*map(read_rgb, files))
    flows = [read_flow(tmp_path / n) for n in ("whole/out/flow/0006.exr", "part/out/flow/0001.exr")]
    np.testing.assert_array_equal(*flows)
    assert np.abs(flows[0]).max() > 0.5 and not (tmp_path / "part/out/flow/0004.exr").exists()


# ---------------------------------------------------------------- light
def test_the_lit_style_is_lambert_s_cosine_law_and_shadows(tmp_path: Path) -> None:
    """A floor below a box, seen from above; the sun is 30 degrees from overhead; sRGB values are exact to 2 %."""
    floor = np.array([[-9.0, -9, 0], [9, -9, 0], [9, 9, 0], [-9, 9, 0]])
    write_glb(tmp_path / "floor.glb", floor, np.array([[0, 1, 2], [0, 2, 3]]), colour=(255, 255, 255))
    box(tmp_path / "box.glb", (0.0, 0.0, 1.0), (0.5, 0.5, 0.5))
    spec = still_scene(
        tmp_path,
        (
            ObjectSpec("floor", "background", "floor.glb", (0.0, 0.0, 0.0)),
            ObjectSpec("box", "foreground", "box.glb", (0.0, 0.0, 1.0)),
        ),
        pose=look_at((0.0, -0.01, 5.0), (0.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    )
    sun = (float(np.sin(np.radians(30))), 0.0, float(np.cos(np.radians(30))))
    lit = Lighting("lit", sun, 0.0, 2.0, (1.0, 0.5, 0.25), 0.0, (1.0, 1.0, 1.0))
    replace(
        spec, lighting=lit, camera=(camera_key(1, np.array(spec.camera[0].world_from_camera), 60.0),)
    ).save(tmp_path / "scene.json")
    api.save_blend(tmp_path, max_faces=CAP)
    api.render_frames(tmp_path, tmp_path / "out", frames=[1], samples=4, device="cpu", on_frame=ignore_step)
    rgb = read_rgb(tmp_path / "out" / "rgb" / "0001.png")
    linear = 2.0 / np.pi * np.cos(np.radians(30)) * np.array([1.0, 0.5, 0.25])
    expected = 255 * (1.055 * linear ** (1 / 2.4) - 0.055)
    assert rgb[4, 60] == pytest.approx(expected, rel=0.02)
    assert (rgb[24, 23] == 0).all()  # the shadow falls to the left: nothing else lights it


def test_views_of_a_lit_scene_keep_the_light_and_hide_the_rest(tmp_path: Path) -> None:
    """A lit box alone on white: neither black, nor with the background that its keys would show."""
    box(tmp_path / "box.glb", (0.0, 4.0, 0.0), (1.0, 1.0, 1.0))
    box(tmp_path / "wall.glb", (0.0, 6.0, 0.0), (9.0, 0.1, 9.0))
    objects = (
        ObjectSpec("box", "foreground", "box.glb", (0.0, 4.0, 0.0)),
        ObjectSpec("wall", "background", "wall.glb", (0.0, 6.0, 0.0), visibility=(VisibilityKey(1, True),)),
    )
    lit = Lighting("lit", (0.0, -0.8, 0.6), 0.0, 3.0, (1.0, 1.0, 1.0), 0.0, (1.0, 1.0, 1.0))
    replace(still_scene(tmp_path, objects), lighting=lit).save(tmp_path / "scene.json")
    api.save_blend(tmp_path, max_faces=CAP)
    views = ViewsConfig(size=48, samples=4, azimuths_deg=(0.0,), elevations_deg=(10.0,), margin=0.2)
    api.render_view_set(tmp_path, tmp_path / "out", config=views, device="cpu", on_frame=ignore_step)
    rgb, mask = read_rgb(tmp_path / "out/rgb/0001.png"), read_mask(tmp_path / "out/mask/0001.png")
    assert 0.1 < mask.mean() < 0.8 and rgb[24, 24, 0] > 100
    assert (rgb[:4] == 255).all() and (rgb[:, :4] == 255).all()


# ---------------------------------------------------------------- names and curves
NAMES = """
import os, sys, bpy
from i2v3d.blender.inside.importer import named_actions
rig = bpy.data.objects.new("Armature", bpy.data.armatures.new("a"))
other = bpy.data.objects.new("Cube.001", bpy.data.meshes.new("m"))
def action(name, owner):
    made = bpy.data.actions.new(name)
    made.slots.new("OBJECT", owner)
    return made
made = [action("Armature|mixamo.com|Layer0", "x"), action("Cube|mixamo.com|Layer0", "x"),
        action("Armature|Armature|walk.001", "x"), action("wave", "Armature"), action("nobody|idle", "y")]
found = named_actions(made, [rig, other])
print({name: sorted(b.target.name for b in bindings) for name, bindings in found.items()}, file=sys.stderr)
os._exit(0)
"""


def test_animations_are_named_as_in_their_file_and_bound_to_what_they_move() -> None:
    """As FBX files of Mixamo, FBX files of Blender, and glTF files come out of Blender's importers."""
    done = subprocess.run(
        [sys.executable, "-c", NAMES], capture_output=True, text=True, timeout=60, check=True
    )
    expected = {"mixamo.com": ["Armature", "Cube.001"], "walk": ["Armature"], "wave": ["Armature"]}
    assert str(expected | {"nobody|idle": []}) in done.stderr


CURVES = """
import json, os, sys, bpy
from i2v3d.scene.motion.easing import EASINGS
worst = {}
for mode, easing in EASINGS.items():
    item = bpy.data.objects.new(mode, None)
    for frame, x in ((1, 0.0), (101, 1.0)):
        item.location.x = x
        item.keyframe_insert("location", index=0, frame=frame)
    curve = item.animation_data.action.fcurves[0]
    for point in curve.keyframe_points:
        point.interpolation = mode
    curve.update()
    worst[mode] = max(abs(curve.evaluate(1 + n) - easing(n / 100)) for n in range(101))
print(json.dumps(worst), file=sys.stderr)
os._exit(0)
"""


def test_camera_easings_are_blender_s_own_curves() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CURVES], capture_output=True, text=True, timeout=60, check=True
    )
    worst = json.loads(done.stderr.strip().splitlines()[-1])
    assert len(worst) == 12 and max(worst.values()) < 1e-6, worst


# ---------------------------------------------------------------- colours of user's meshes
def write_coloured(folder: Path, kind: str) -> str:
    """A square in the plane y = 3 of one sRGB colour, (200, 100, 50), as each format says it."""
    corners = [(-1, 3, -1), (1, 3, -1), (1, 3, 1), (-1, 3, 1)]
    if kind == "ply":  # vertex colours, which are sRGB
        lines = ["ply", "format ascii 1.0", "element vertex 4", *(f"property float {a}" for a in "xyz")]
        lines += [*(f"property uchar {c}" for c in ("red", "green", "blue")), "element face 1"]
        lines += ["property list uchar int vertex_indices", "end_header"]
        lines += [f"{x} {y} {z} 200 100 50" for x, y, z in corners] + ["4 0 1 2 3"]
        (folder / "a.ply").write_text("\n".join(lines) + "\n")
        return "a.ply"
    Image.new("RGB", (4, 4), (200, 100, 50)).save(folder / "t.png")
    if kind == "obj":  # y up
        (folder / "a.mtl").write_text("newmtl m\nmap_Kd t.png\n")
        rows = [f"v {x} {z} {-y}" for x, y, z in corners] + [
            f"vt {u} {v}" for u, v in ((0, 0), (1, 0), (1, 1), (0, 1))
        ]
        (folder / "a.obj").write_text(
            "\n".join(["mtllib a.mtl", *rows, "usemtl m", "f 1/1 2/2 3/3 4/4"]) + "\n"
        )
        return "a.obj"
    texture = np.full((4, 4, 3), (200, 100, 50), np.uint8)
    write_glb(folder / "a.glb", np.array(corners, float), np.array([[0, 1, 2], [0, 2, 3]]), texture=texture)
    return "a.glb"


@pytest.mark.parametrize("kind", ["ply", "obj", "glb"])
def test_colours_of_users_meshes_are_shown_as_they_are(kind: str, tmp_path: Path) -> None:
    mesh = write_coloured(tmp_path, kind)
    still_scene(tmp_path, (ObjectSpec("a", "foreground", mesh, (0.0, 3.0, 0.0)),))
    api.save_blend(tmp_path, max_faces=CAP)
    api.render_frames(tmp_path, tmp_path / "out", frames=[1], samples=1, device="cpu", on_frame=ignore_step)
    rgb, mask = read_rgb(tmp_path / "out/rgb/0001.png"), read_mask(tmp_path / "out/fg_mask/0001.png")
    assert mask[24, 32] and (rgb[mask] == (200, 100, 50)).all(axis=-1).mean() > 0.9
