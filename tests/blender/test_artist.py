"""What an artist hands back: a .blend changed by hand, and a folder of renders."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from i2v3d.artifacts.coarse import read_renders
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.artifacts.scene_spec import SceneSpec
from i2v3d.blender import api
from i2v3d.config.render import RenderConfig
from i2v3d.config.scene import SceneConfig
from i2v3d.config.sections import build
from i2v3d.diffusion.depth import disparity_conditioning
from i2v3d.errors import ConfigError, InputError
from i2v3d.images import read_depth, read_flow, read_mask, read_rgb, write_depth
from i2v3d.stages.context import StageContext
from i2v3d.stages.render import render_passes
from i2v3d.stages.scene import build_scene, check_scene
from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.plan import make_plan
from i2v3d.workflow.preflight import check_plan

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FRAMES, SIZE = 4, (96, 64)
READERS = {"rgb": read_rgb, "depth": read_depth, "mask": read_mask, "fg_mask": read_mask, "flow": read_flow}


def scene_options(name: str, **changes: Any) -> dict[str, Any]:
    words = [f"scene={name}"]
    words += ["scene.blend=x", "scene.photo=x"] if name == "blend" else []
    (variant,) = compose_variants(ROOT / "conf", words)
    small = {"width": SIZE[0], "height": SIZE[1], "frames": FRAMES}
    return variant.config["scene"] | small | changes


def made(options: dict[str, Any], folder: Path) -> Path:
    """Builds a scene in folder/scene."""
    out = folder / "scene"
    out.mkdir(parents=True)
    context = StageContext(device="cpu", max_batch=0, work=folder / "work")
    build_scene(build(SceneConfig, options, "scene"), {}, out, context)
    return out


def rendered(scene: Path, folder: Path, renders: Path | None = None) -> Path:
    """Renders a scene, or takes an artist's renders, into folder/render."""
    out = folder / "render"
    out.mkdir(parents=True)
    cfg = RenderConfig(str(renders) if renders else None, "flat", 2, "mesh", 2.0, 10**6)
    context = StageContext(device="cpu", max_batch=0, work=folder / "work")
    render_passes(cfg, {"scene": scene}, out, context)
    return out


@pytest.fixture(scope="module")
def photo_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo's scene with another object, and its passes beside it. Its camera moves, its box turns."""
    folder = tmp_path_factory.mktemp("photo_scene")
    trimesh.creation.box((0.05, 0.05, 0.05)).export(folder / "box.ply")
    place = {"position_m": [0.1, 0.4, 0.03], "rotation_deg": [0, 0, 30], "scale": 1.0}
    box = {"name": "box", "mesh": str(folder / "box.ply"), "copy_of": None, "role": "background"}
    box |= {"place": place, "pivot_m": None, "keys": []}
    keys = [
        {"frame": f, "translation_m": [0, 0, 0], "rotation_deg": [0, 0, 3 * f], "scale": [1, 1, 1]}
        | {"interpolation": "LINEAR"}
        for f in (1, FRAMES)
    ]
    move = {"kind": "orbit", "amount": 5.0, "start_frame": 1, "end_frame": FRAMES, "interpolation": "LINEAR"}
    photo = scene_options("coffee")
    camera = photo["camera"] | {"moves": [move]}
    options = photo | {"photo": str(ROOT / photo["photo"]), "objects": [box], "keys": keys, "camera": camera}
    rendered(made(options, folder), folder)
    return folder


def blend_options(blend: Path, **changes: Any) -> dict[str, Any]:
    photo = str(ROOT / "scenes/coffee/photo.jpg")
    return scene_options("blend", blend=str(blend), photo=photo, **changes)


def edited(blend: Path, target: Path, code: str) -> Path:
    """A copy of a .blend after some Python in Blender."""
    script = (
        "import os, sys, bpy; bpy.ops.wm.open_mainfile(filepath=sys.argv[1]); scene = bpy.context.scene\n"
        f"{code}\nbpy.ops.wm.save_as_mainfile(filepath=sys.argv[2], compress=False); os._exit(0)"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(blend), str(target)], check=True, capture_output=True, timeout=60
    )
    return target


# ---------------------------------------------------------------- .blend
def test_a_blend_goes_out_and_comes_back_with_identical_passes(photo_scene: Path, tmp_path: Path) -> None:
    api.export_scene(photo_scene / "scene", tmp_path / "mine.blend")
    again = rendered(made(blend_options(tmp_path / "mine.blend"), tmp_path), tmp_path)
    for folder, read in READERS.items():
        files = sorted((photo_scene / "render" / folder).iterdir())
        assert len(files) == FRAMES - (folder == "flow")
        for file in files:
            np.testing.assert_array_equal(read(file), read(again / folder / file.name), err_msg=str(file))
    cameras = [json.loads((path / "cameras.json").read_text()) for path in (photo_scene / "render", again)]
    assert cameras[0] == cameras[1]
    spec = SceneSpec.load(tmp_path / "scene" / "scene.json")
    assert {(o.name, o.role) for o in spec.objects} == {
        ("foreground", "foreground"), ("background", "background"), ("box", "background"),
    }  # fmt: skip
    np.testing.assert_allclose(
        np.linalg.inv(spec.camera[2].world_from_camera), cameras[0]["w2c"][2], atol=1e-9
    )
    mask = read_mask(tmp_path / "scene" / "mask.png")
    np.testing.assert_array_equal(mask, read_mask(again / "fg_mask" / "0001.png"))


def test_changes_by_hand_hold_and_scripts_never_run(
    photo_scene: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The box becomes the foreground, the cup goes, the shot starts at frame 101; script and driver wait in vain."""
    marker = tmp_path / "ran"
    code = f"""
bpy.data.objects.remove(bpy.data.objects["foreground"])
for item in (scene.camera, scene.camera.data):
    item.animation_data_clear()
box = bpy.data.objects["box_pivot"]
for frame, x in ((101, 0.0), (104, 0.03)):
    box.location.x = x
    box.keyframe_insert("location", frame=frame)
text = bpy.data.texts.new("autorun.py")
text.write("open({str(marker)!r}, 'w').close()")
text.use_module = True
driver = scene.camera.data.driver_add("display_size").driver
driver.expression = "100 if open({str(marker)!r}, 'w') else 100"
"""
    blend = edited(photo_scene / "scene" / "scene.blend", tmp_path / "mine.blend", code)
    marker.unlink(missing_ok=True)  # the editor may run what it writes
    scene = made(blend_options(blend, foreground=["box"], start_frame=101), tmp_path)
    out = rendered(scene, tmp_path)
    centres = [np.argwhere(read_mask(out / "fg_mask" / f"000{n}.png")).mean(axis=0)[1] for n in (1, 4)]
    assert centres[1] > centres[0] + 2  # to the right
    assert not marker.exists() and "scripts and Python drivers never run here" in caplog.text


@pytest.mark.parametrize(
    ("code", "changes", "error", "message"),
    [
        (
            "",
            {"foreground": ["bocks"]},
            InputError,
            "lacks 'bocks', which scene.foreground names; did you mean 'box'",
        ),
        (
            "for o in list(scene.objects): o.pop('i2v3d_role', None)",
            {},
            InputError,
            "has no foreground; name some in scene.foreground, of its objects: background, box, foreground",
        ),
        ("scene.camera = None", {}, InputError, "no active camera"),
        ("scene.camera.data.type = 'ORTHO'", {}, InputError, "expected a perspective camera"),
        (
            "image = bpy.data.images[0]; image.unpack(method='WRITE_ORIGINAL') if image.packed_file else None; "
            "image.filepath = '/nowhere/gone.png'",
            {},
            InputError,
            "uses the picture /nowhere/gone.png, which is not in its folder; pack it",
        ),
        ("", {"max_faces": 10}, InputError, r"faces, more than scene\.max_faces = 10"),
        (
            "bpy.data.objects['foreground_pivot'].location.z = 99; "
            "bpy.data.objects['foreground_pivot'].animation_data_clear()",
            {},
            ConfigError,
            "never sees the foreground",
        ),
    ],
)
def test_blends_that_cannot_be_the_scene_are_refused_before_rendering(
    code: str,
    changes: dict[str, Any],
    error: type[Exception],
    message: str,
    photo_scene: Path,
    tmp_path: Path,
) -> None:
    blend = edited(photo_scene / "scene" / "scene.blend", tmp_path / "mine.blend", code)
    with pytest.raises(error, match=message) as raised:
        made(blend_options(blend, **changes), tmp_path)
    assert "\n" not in str(raised.value)


def test_files_that_are_no_blend_and_newer_ones_are_refused(photo_scene: Path, tmp_path: Path) -> None:
    (tmp_path / "text.blend").write_text("hello")
    with pytest.raises(InputError, match=r"text\.blend is no \.blend file"):
        check_scene(build(SceneConfig, blend_options(tmp_path / "text.blend"), "scene"))
    with pytest.raises(InputError, match="cannot be read"):
        check_scene(build(SceneConfig, blend_options(tmp_path / "gone.blend"), "scene"))
    plain = edited(photo_scene / "scene" / "scene.blend", tmp_path / "plain.blend", "")
    header = plain.read_bytes()
    assert header.startswith(b"BLENDER-v405")
    (tmp_path / "newer.blend").write_bytes(b"BLENDER-v499" + header[12:])
    (tmp_path / "next.blend").write_bytes(b"BLENDER17-01v0600" + header[17:])
    for name, said in (
        ("newer", "saved by Blender 4.99"),
        ("next", "Blender 4.5.* cannot open|saved by Blender 6"),
    ):
        with pytest.raises(InputError, match=said) as raised:
            made(blend_options(tmp_path / f"{name}.blend"), tmp_path / name)
        assert "save it with that version" in str(raised.value)


# ---------------------------------------------------------------- a folder of renders
def write_folder(source: Path, folder: Path, depth: str = "png8") -> Path:
    """An artist's renders of the same frames: names and numbers of their own, depth as the original has it."""
    for name in ("ani", "depth", "fg_mask", "mask"):
        (folder / name).mkdir(parents=True)
    for n in range(1, FRAMES + 1):
        number = f"shot_{n + 7}"
        for theirs, ours in (("ani", "rgb"), ("fg_mask", "fg_mask"), ("mask", "mask")):
            Image.open(source / ours / f"{n:04d}.png").save(folder / theirs / f"{number}.png")
        depth_m = read_depth(source / "depth" / f"{n:04d}.exr")
        if depth == "exr":
            write_depth(folder / "depth" / f"{number}.exr", depth_m)
            continue
        near = 1 / depth_m
        scaled = (near - near.min()) / np.ptp(near)
        values = np.rint(scaled * (255 if depth == "png8" else 65535))
        Image.fromarray(values.astype(np.uint8 if depth == "png8" else np.uint16)).save(
            folder / "depth" / f"{number}.png"
        )
    return folder


@pytest.mark.parametrize(("depth", "tolerance"), [("png8", 0.003), ("png16", 2e-5), ("exr", 0.0)])
def test_an_artists_renders_enter_as_they_are(
    depth: str, tolerance: float, photo_scene: Path, tmp_path: Path
) -> None:
    """Colour and masks exactly; the depth that the networks see to the precision of its files."""
    source = photo_scene / "render"
    out = rendered(photo_scene / "scene", tmp_path, write_folder(source, tmp_path / "mine", depth))
    for n in range(1, FRAMES + 1):
        for folder in ("rgb", "mask", "fg_mask"):
            name = f"{folder}/{n:04d}.png"
            np.testing.assert_array_equal(READERS[folder](source / name), READERS[folder](out / name))
    frames = range(1, FRAMES + 1)
    ours, theirs = (read_renders(path, frames, "frame").depth.numpy() for path in (source, out))
    np.testing.assert_allclose(theirs, ours, atol=tolerance)
    assert not (out / "flow").exists() and json.loads((out / "cameras.json").read_text())["assumed"] is True
    if depth != "exr":  # scaled over the shot, a picture's values come back as they are
        grey = np.asarray(Image.open(tmp_path / "mine/depth/shot_8.png"), dtype=np.float64)
        back = disparity_conditioning(torch_depth(out, 1), "shot", RenderFolder(out).depth_range_m())[
            0
        ].numpy()
        np.testing.assert_allclose(back, grey / (255 if depth == "png8" else 65535), atol=1e-4)


def torch_depth(render: Path, frame: int) -> Any:
    import torch

    return torch.from_numpy(read_depth(render / "depth" / f"{frame:04d}.exr"))[None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: next((folder / "mask").iterdir()).unlink(), r"hold 3 pictures but the shot has 4 frames; set"),
        (lambda folder: (folder / "fg_mask").rename(folder / "fg"), "lack the folder fg_mask; expected ani, depth"),
        (
            lambda folder: Image.new("RGB", (32, 32)).save(folder / "ani/shot_9.png"),
            r"shot_9\.png is 32x32 but the scene is 96x64; set scene\.width=32",
        ),
        (lambda folder: (folder / "depth/shot_8.png").write_bytes(b"x"), r"shot_8\.png is no readable picture"),
    ],
)  # fmt: skip
def test_renders_that_do_not_fit_are_refused(change, message: str, photo_scene: Path, tmp_path: Path) -> None:
    folder = write_folder(photo_scene / "render", tmp_path / "mine")
    change(folder)
    with pytest.raises(InputError, match=message) as raised:
        rendered(photo_scene / "scene", tmp_path, folder)
    assert "\n" not in str(raised.value)


def test_the_plan_refuses_a_folder_of_another_length(photo_scene: Path, tmp_path: Path, monkeypatch) -> None:
    """Before anything runs: the shot of the configuration has 15 frames, the folder 4."""
    monkeypatch.chdir(ROOT)
    folder = write_folder(photo_scene / "render", tmp_path / "mine")
    variants = compose_variants(ROOT / "conf", ["scene=coffee", f"render.folder={folder}"])
    plan = make_plan(variants, Fingerprints(tmp_path / "memo.json"))
    assert any(str(folder) in node.files for node in plan.nodes if node.stage == "render")
    with pytest.raises(InputError, match=r"hold 4 pictures but the shot has 15 frames; set scene\.frames=4"):
        check_plan(plan, tmp_path / "cache")
