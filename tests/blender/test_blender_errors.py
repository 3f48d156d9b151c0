"""What Blender cannot take becomes one line: what, where, what next; nothing crashes the parent."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2v3d.artifacts.scene_spec import CameraKey, ObjectSpec, SceneSpec, TransformKey
from i2v3d.blender import api
from i2v3d.blender.jobs import BlendJob, load_job, save_job
from i2v3d.blender.machine import missing_libraries, missing_library_error
from i2v3d.blender.process import run_child
from i2v3d.config.render import RenderConfig
from i2v3d.errors import ArtifactError, ConfigError, InputError, MachineError, RenderError
from i2v3d.progress import ignore_step
from i2v3d.scene.mesh_files import check_mesh
from i2v3d.stages.context import StageContext
from i2v3d.stages.render import render_passes
from tests.support.blender_scenes import LOOK_ALONG_Y, box, sphere, still_scene, write_glb
from tests.support.warm.plugin import COLD

CAP = 1000
TRIANGLE = np.array([[0.0, 0, 0], [1, 0, 0], [0, 0, 1]])
FACE = np.array([[0, 1, 2]])


# ---------------------------------------------------------------- meshes
def glb(gltf: Mapping[str, Any], binary: bytes = b"") -> bytes:
    """A GLB container around any JSON and binary chunk."""
    text = json.dumps(gltf).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text
    if binary:
        chunks += struct.pack("<II", len(binary), 0x004E4942) + binary
    return b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks


def triangle_glb(
    vertices: Any = TRIANGLE, indices: tuple[int, ...] = (0, 1, 2), images: list[Any] | None = None
) -> bytes:
    """A GLB of one indexed triangle, as broken as the arguments ask for."""
    positions = np.asarray(vertices, dtype="<f4").tobytes()
    corners = np.asarray(indices, dtype="<u4").tobytes()
    gltf: dict[str, Any] = {
        "asset": {"version": "2.0"},
        "buffers": [{"byteLength": len(positions) + len(corners)}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": len(positions)},
            {"buffer": 0, "byteOffset": len(positions), "byteLength": len(corners)},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": len(positions) // 12, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5125, "count": len(indices), "type": "SCALAR"},
        ],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
    }
    if images is not None:
        gltf["images"], gltf["textures"] = images, [{"source": 0}]
        gltf["materials"] = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}]
        gltf["meshes"][0]["primitives"][0]["material"] = 0
    return glb(gltf, positions + corners)


def not_finite() -> bytes:
    vertices = TRIANGLE.copy()
    vertices[1, 2] = np.nan
    return triangle_glb(vertices)


BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty file": (lambda: b"", r"is empty \(0 bytes\)"),
    "another format": (lambda: b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", r"does not begin like a \.glb file"),
    "truncated": (lambda: triangle_glb()[:-20], "truncated or damaged"),
    "header of garbage": (lambda: glb({})[:20] + b"\xff" * (len(glb({})) - 20), "damaged glTF header"),
    "no meshes": (lambda: glb({"asset": {"version": "2.0"}}), "has no faces"),
    "no indices": (lambda: triangle_glb(indices=()), "has no faces"),
    "accessor past its end": (
        lambda: triangle_glb().replace(b'"count": 3', b'"count": 9', 1),
        "vertex data cannot be read",
    ),
    "not finite": (not_finite, "1 vertices that are not finite"),
    "index out of range": (lambda: triangle_glb(indices=(0, 1, 99)), "refers to vertex 99 but has 3"),
    "missing texture": (
        lambda: triangle_glb(images=[{"uri": "gone.png"}]),
        "'gone.png' .* is missing",
    ),
    "texture outside": (lambda: triangle_glb(images=[{"uri": "../../x.png"}]), "lies outside its folder"),
    "damaged texture": (
        lambda: triangle_glb(images=[{"bufferView": 0}]),
        "no picture of a known kind, or damaged",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_meshes_are_refused_before_blender_starts(kind: str, tmp_path: Path) -> None:
    content, message = BROKEN[kind]
    path = tmp_path / "broken.glb"
    path.write_bytes(content())
    with pytest.raises(InputError, match=message) as raised:
        check_mesh(path, CAP)
    assert "broken.glb" in str(raised.value) and "\n" not in str(raised.value)


def test_good_meshes_pass_and_the_face_cap_counts_triangles(tmp_path: Path) -> None:
    (tmp_path / "one.glb").write_bytes(triangle_glb())
    write_glb(tmp_path / "other.glb", TRIANGLE, FACE, texture=np.zeros((4, 4, 3), np.uint8))
    check_mesh(tmp_path / "one.glb", 1)
    check_mesh(tmp_path / "other.glb", CAP)
    with pytest.raises(InputError, match="has 1 triangles, more than"):
        check_mesh(tmp_path / "one.glb", 0)


# ---------------------------------------------------------------- scenes
def scene_with(tmp_path: Path, **changes: Any) -> SceneSpec:
    """A good scene of one box, with some of its fields replaced."""
    box(tmp_path / "box.glb", (0.0, 4.0, 0.0), (1.0, 1.0, 1.0))
    spec = still_scene(tmp_path, (ObjectSpec("box", "foreground", "box.glb", (0.0, 4.0, 0.0)),), frames=3)
    spec = replace(spec, **changes)
    spec.save(tmp_path / "scene.json")
    return spec


def key(frame: int, scale: float = 1.0) -> TransformKey:
    return TransformKey(frame, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (scale, scale, scale), "LINEAR")


def box_with(**changes: Any) -> dict[str, tuple[ObjectSpec, ...]]:
    return {"objects": (replace(ObjectSpec("box", "foreground", "box.glb", (0.0, 4.0, 0.0)), **changes),)}


def camera_of(pose: Any, focal_px: float) -> dict[str, tuple[CameraKey, ...]]:
    return {"camera": (CameraKey(1, tuple(map(tuple, np.asarray(pose).tolist())), focal_px, "LINEAR"),)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objects": ()}, "needs objects"),
        ({"camera": ()}, "no camera key"),
        (box_with(keys=(key(2), key(1))), "key at frame 1 after one at 2"),
        (box_with(keys=(key(1), key(9))), "key at frame 9; expected 1 to 3"),
        (box_with(keys=(key(1, scale=0.0),)), "scale 0 at frame 1"),
        (box_with(mesh="../box.glb"), "lies outside"),
        (box_with(mesh="box.obj"), "cannot be read"),
        (box_with(mesh="gone.glb"), "cannot be read"),
        (box_with(role="prop"), r"objects\.0\.role: .*'foreground' or 'background'"),
        (camera_of(2 * LOOK_ALONG_Y, 60.0), "no rigid pose"),
        (camera_of(np.diag([1.0, 1, -1, 1]), 60.0), "no rigid pose"),
        (camera_of(LOOK_ALONG_Y, 0.0), "expected above 0 pixels"),
    ],
)
def test_impossible_scenes_are_refused(tmp_path: Path, changes: Mapping[str, Any], message: str) -> None:
    scene_with(tmp_path, **changes)
    with pytest.raises((ArtifactError, InputError), match=message):
        api.save_blend(tmp_path, max_faces=CAP)


def test_frames_outside_the_shot_are_refused(tmp_path: Path) -> None:
    scene_with(tmp_path)
    (tmp_path / "scene.blend").write_bytes(b"")
    with pytest.raises(RenderError, match=r"frames 1 to 3, asked for \[4\]"):
        api.render_frames(tmp_path, tmp_path, frames=[3, 4], samples=1, device="cpu", on_frame=ignore_step)


def test_a_scene_without_its_blend_is_refused(tmp_path: Path) -> None:
    scene_with(tmp_path)
    with pytest.raises(ArtifactError, match=r"lacks scene\.blend"):
        api.render_frames(tmp_path, tmp_path, frames=[1], samples=1, device="cpu", on_frame=ignore_step)


# ---------------------------------------------------------------- real Blender processes
def context(folder: Path) -> StageContext:
    return StageContext(device="cpu", max_batch=0, work=folder / "work")


@pytest.mark.slow
def test_a_camera_that_never_sees_the_object_is_an_error_before_rendering(tmp_path: Path) -> None:
    away = LOOK_ALONG_Y @ np.diag([-1.0, 1, -1, 1])
    box(tmp_path / "box.glb", (0.0, 4.0, 0.0), (1.0, 1.0, 1.0))
    still_scene(tmp_path, (ObjectSpec("box", "foreground", "box.glb", (0.0, 4.0, 0.0)),), pose=away)
    with pytest.raises(ConfigError, match=r"never sees the foreground \(box\)"):
        api.save_blend(tmp_path, max_faces=CAP)
    assert not (tmp_path / "scene.blend").exists()


@pytest.mark.slow
def test_a_camera_inside_an_object_is_an_error_before_rendering(tmp_path: Path) -> None:
    """The box drives over the camera: at frame 3 it is inside. The sky, a background, may be around it."""
    box(tmp_path / "box.glb", (0.0, 4.0, 0.0), (1.0, 1.0, 1.0))
    sphere(tmp_path / "sky.glb", 20.0)
    keys = (key(1), replace(key(3), translation_m=(0.0, -4.1, 0.0)))
    objects = (
        ObjectSpec("box", "foreground", "box.glb", (0.0, 4.0, 0.0), keys),
        ObjectSpec("sky", "background", "sky.glb", (0.0, 0.0, 0.0)),
    )
    still_scene(tmp_path, objects, frames=3)
    with pytest.raises(ConfigError, match="inside object 'box' at frame 3"):
        api.save_blend(tmp_path, max_faces=CAP * 100)
    still_scene(tmp_path, (replace(objects[0], keys=keys[:1]), objects[1]), frames=3)
    api.save_blend(tmp_path, max_faces=CAP * 100)


@pytest.mark.slow
def test_an_artists_camera_that_sees_nothing_is_an_error(tmp_path: Path) -> None:
    """Of a .blend changed by hand, which is rendered as it is."""
    box(tmp_path / "box.glb", (0.0, 4.0, 0.0), (1.0, 1.0, 1.0))
    still_scene(tmp_path, (ObjectSpec("box", "foreground", "box.glb", (0.0, 4.0, 0.0)),))
    api.save_blend(tmp_path, max_faces=CAP)
    code = (
        "import os, sys, bpy; bpy.ops.wm.open_mainfile(filepath=sys.argv[1]); "
        "bpy.data.objects['box_pivot'].location = (99, 0, 0); bpy.ops.wm.save_mainfile(); os._exit(0)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "scene.blend")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    with pytest.raises(RenderError, match="shows anything; check the camera"):
        render_passes(
            RenderConfig(
                folder=None, light="flat", samples=1, background="mesh", plane_depth=2.0, max_faces=5_000_000
            ),
            {"scene": tmp_path},
            tmp_path / "out",
            context(tmp_path),
        )
    assert (tmp_path / "work" / "frames.log").stat().st_size > 0


@pytest.mark.slow
def test_a_damaged_blend_is_one_line_with_the_log_kept(tmp_path: Path) -> None:
    scene_with(tmp_path)
    (tmp_path / "scene.blend").write_bytes(b"BLENDER-v405 but no more")
    with pytest.raises(RenderError, match=r"cannot open .*scene\.blend") as raised:
        api.render_frames(
            tmp_path,
            tmp_path,
            frames=[1],
            samples=1,
            device="cpu",
            on_frame=ignore_step,
            log_dir=tmp_path / "logs",
        )
    assert str(raised.value).endswith(f"see {tmp_path / 'logs' / 'frames.log'}")
    assert "\n" not in str(raised.value)
    assert "Traceback" in (tmp_path / "logs" / "frames.log").read_text()


@pytest.mark.slow
def test_a_library_that_the_loader_misses_names_its_package(tmp_path: Path) -> None:
    message = "libX11.so.6: cannot open shared object file: No such file or directory"
    (tmp_path / "bpy.py").write_text(f"raise ImportError({message!r})")
    job = tmp_path / "job.json"
    save_job(BlendJob(scene_dir=str(tmp_path)), job)
    command = [COLD, "-m", "i2v3d.blender.inside.worker", str(job)]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with pytest.raises(MachineError, match=r"libX11\.so\.6, .* apt-get install libx11-6"):
        run(command, tmp_path, env={**os.environ, "PYTHONPATH": path})


# ---------------------------------------------------------------- processes
def run(
    command: list[str], folder: Path, env: Mapping[str, str] = os.environ, stall_s: float = 20.0
) -> list[Mapping[str, Any]]:
    """Runs a child as the parent side does; returns its events."""
    events: list[Mapping[str, Any]] = []
    log = folder / "child.log"
    run_child(command, what="testing", log_file=log, env=env, stall_s=stall_s, on_event=events.append)
    return events


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.parametrize(("name", "number"), [("SIGSEGV", 11), ("SIGABRT", 6)])
def test_a_crash_by_signal_is_one_line_with_the_logs_path(tmp_path: Path, name: str, number: int) -> None:
    code = f"import os; os.write(2, b'the last words'); os.kill(os.getpid(), {number})"
    with pytest.raises(RenderError, match=rf"crashed \({name}, signal {number}\) while testing") as raised:
        run(python(code), tmp_path)
    assert str(tmp_path / "child.log") in str(raised.value)
    assert (tmp_path / "child.log").read_text() == "the last words"


def test_an_exit_without_done_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match=r"ended early \(exit status 0\)"):
        run(python("pass"), tmp_path)
    with pytest.raises(RenderError, match=r"ended early \(exit status 3\)"):
        run(python("import os; os._exit(3)"), tmp_path)


def test_a_stalled_process_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match="no progress for 0 s while testing"):
        run(python("import time; time.sleep(60)"), tmp_path, stall_s=0.3)


def test_a_command_that_cannot_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cannot start a process for testing"):
        run([str(tmp_path / "nothing")], tmp_path)


def test_errors_of_the_child_keep_their_class_and_foreign_lines_do_no_harm(tmp_path: Path) -> None:
    event = {"event": "error", "type": "InputError", "message": "mesh x is broken"}
    with pytest.raises(InputError, match=r"^mesh x is broken$"):
        run(python(f"print({json.dumps(event)!r})"), tmp_path)
    events = run(python('print("hello"); print(\'{"event": "done"}\')'), tmp_path)
    assert [e["event"] for e in events] == ["log", "done"]


def test_missing_libraries_are_read_from_ldd_and_named_with_their_packages() -> None:
    output = "\tlibX11.so.6 => not found\n\tlibm.so.6 => /lib/libm.so.6 (0x7)\n\tlibXi.so.6 => not found\n"
    libraries = missing_libraries(output)
    assert libraries == ["libX11.so.6", "libXi.so.6"]
    assert "apt-get install libx11-6 libxi6" in str(missing_library_error(libraries))
    assert "libodd.so.1" in str(missing_library_error(["libodd.so.1"]))


def test_this_machine_has_what_blender_links() -> None:
    api.check_machine()


def test_jobs_survive_their_file(tmp_path: Path) -> None:
    job = BlendJob(scene_dir="scenes/x")
    save_job(job, tmp_path / "job.json")
    assert load_job(tmp_path / "job.json") == job


def test_the_parent_side_imports_neither_bpy_nor_torch() -> None:
    code = "import sys, i2v3d.blender.api; sys.exit(bool({'bpy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


SEGFAULT = """
import bpy
mesh = bpy.data.meshes.new("broken")
mesh.from_pydata([(0, 0, 0), (1, 0, 0), (0, 1, 0)], [], [(0, 1, 2)])
mesh.loops.foreach_set("vertex_index", [0, 1, 500_000_000])
mesh.update()
[face.normal.x for face in mesh.polygons]
"""


@pytest.mark.slow
def test_a_real_crash_of_blender_is_one_line_with_the_logs_path(tmp_path: Path) -> None:
    with pytest.raises(
        RenderError, match=r"crashed \(SIG(SEGV|ABRT|BUS), signal \d+\) while testing"
    ) as raised:
        run(python(SEGFAULT), tmp_path)
    assert str(raised.value).endswith(f"see {tmp_path / 'child.log'}")
