"""What a render folder promises, whoever writes it; and what its readers refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from numpy.typing import NDArray
from PIL import Image

from i2v3d.artifacts.coarse import read_coarse_shot
from i2v3d.artifacts.render_folder import CoarseFrame, RenderFolder
from i2v3d.artifacts.rendered_cameras import RenderedCameras
from i2v3d.artifacts.scene_spec import CameraKey, SceneSpec
from i2v3d.blender.inside.passes import coarse_frame, read_passes
from i2v3d.blender.report import RenderReport
from i2v3d.errors import ArtifactError, ShapeError
from i2v3d.geometry.cameras import look_at
from i2v3d.images import write_depth
from i2v3d.progress import ignore_step
from i2v3d.scene.artist_renders import import_renders
from i2v3d.scene.motion.camera_files import read_track, write_track
from i2v3d.toy.moving_disc import write_moving_disc
from i2v3d.toy.passes import write_passes
from i2v3d.toy.world.clips import held_out_clip

FRAMES, WIDTH, HEIGHT = 3, 32, 24
FOCAL_PX = 30.0
K = np.array([[FOCAL_PX, 0, WIDTH / 2], [0, FOCAL_PX, HEIGHT / 2], [0, 0, 1]])


def pose(frame: int) -> NDArray[np.float64]:
    """World from camera."""
    return look_at((0.2 * frame, -4.0, 0.5), (0.0, 0.0, 0.0))


def disc(frame: int) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Where a disc is seen, and depth: the disc 1 m away, a wall 2 m away, nothing at the left."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    inside = (rows - 12) ** 2 + (columns - 14 - frame) ** 2 < 25
    return inside, np.where(inside, 1.0, np.where(columns >= 4, 2.0, np.inf)).astype(np.float32)


# ---------------------------------------------------------------- the writers
def moving_disc(folder: Path) -> Path:
    write_moving_disc(folder, FRAMES, HEIGHT, WIDTH)
    return folder


def toy_passes(folder: Path) -> Path:
    write_passes(held_out_clip(0, 40, 18, FRAMES, 1.0), WIDTH, HEIGHT, 1, folder)
    return folder


def artist(depth: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        theirs = folder.with_name("theirs")
        for name in ("ani", "depth", "fg_mask", "mask"):
            (theirs / name).mkdir(parents=True)
        for frame in range(1, FRAMES + 1):
            inside, depth_m = disc(frame)
            masks = {"fg_mask": inside, "mask": np.isfinite(depth_m)}
            for name, mask in masks.items():
                Image.fromarray(mask.astype(np.uint8) * 255).save(theirs / name / f"{frame}.png")
            Image.new("RGB", (WIDTH, HEIGHT), (40 * frame, 0, 0)).save(theirs / "ani" / f"{frame}.png")
            if depth == "exr":
                write_depth(theirs / "depth" / f"{frame}.exr", depth_m)
            else:
                Image.fromarray((255 / depth_m).astype(np.uint8)).save(theirs / "depth" / f"{frame}.png")
        keys = tuple(
            CameraKey(f, tuple(map(tuple, pose(f).tolist())), FOCAL_PX, "LINEAR")
            for f in range(1, FRAMES + 1)
        )
        spec = SceneSpec("mine", WIDTH, HEIGHT, FRAMES, 8, WIDTH / 2, HEIGHT / 2, keys, ())
        import_renders(theirs, spec, folder)
        return folder

    return write


def blender_files(folder: Path) -> Path:
    """What Blender leaves of each frame, without Blender: its multilayer file and its report."""
    report, multilayer = RenderReport(), folder.with_name("passes.exr")
    for frame in range(1, FRAMES + 1):
        inside, depth_m = disc(frame)
        seen = np.isfinite(depth_m)
        channels = {f"colour.Combined.{c}": seen.astype(np.float32) * 0.25 for c in "RGB"}
        channels |= {"colour.Combined.A": seen.astype(np.float32)}
        channels |= {"data.Depth.Z": np.where(seen, depth_m, np.float32(1e10))}
        channels |= {"data.IndexOB.X": np.where(inside, 1, np.where(seen, 2, 0)).astype(np.float32)}
        channels |= {f"data.Vector.{c}": np.full((HEIGHT, WIDTH), -1, np.float32) for c in "XYZW"}
        with OpenEXR.File({"type": OpenEXR.scanlineimage}, channels) as file:
            file.write(str(multilayer))
        passes = read_passes(multilayer)
        flow_px = passes.flow_px if frame < FRAMES else None
        RenderFolder(folder).write(frame, coarse_frame(passes, flow_px))
        report.frames[frame] = {
            "frame": frame,
            "K": K.tolist(),
            "w2c": np.linalg.inv(pose(frame)).tolist(),
            "depth_range_m": [1.0, 2.0],
        }
    RenderFolder(folder).write_cameras(report.cameras(WIDTH, HEIGHT, 8))
    return folder


def blender(folder: Path) -> Path:
    from i2v3d.artifacts.scene_spec import ObjectSpec
    from i2v3d.blender import api
    from tests.support.blender_scenes import box, camera_key, still_scene

    scene = folder.with_name("scene")
    box(scene / "box.glb", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    made = still_scene(scene, (ObjectSpec("box", "foreground", "box.glb", (0, 0, 0)),), frames=FRAMES)
    camera = tuple(camera_key(f, pose(f), FOCAL_PX) for f in range(1, FRAMES + 1))
    type(made)(**{**vars(made), "camera": camera}).save(scene / "scene.json")
    api.save_blend(scene, max_faces=1000)
    api.render_frames(
        scene, folder, frames=range(1, FRAMES + 1), samples=1, device="cpu", on_frame=ignore_step
    )
    return folder


WRITERS = {
    "moving disc": moving_disc,
    "toy world": toy_passes,
    "artist, depth in metres": artist("exr"),
    "artist, depth as pictures": artist("png"),
    "Blender's files": blender_files,
    "Blender": blender,
}
SLOW = {"Blender"}


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else [], id=n) for n in WRITERS],
)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RenderFolder:
    return RenderFolder(WRITERS[request.param](tmp_path_factory.mktemp("writer") / "render"))


def test_every_pass_has_every_frame(written: RenderFolder) -> None:
    assert written.frame_count() == FRAMES
    written.check(FRAMES, flow=written.has_flow)
    with pytest.raises(ArtifactError, match="has 3 of 4 frames"):
        written.check(FRAMES + 1, flow=written.has_flow)


def test_passes_have_their_units_and_belong_together(written: RenderFolder) -> None:
    passes, cameras = written.passes(range(1, FRAMES + 1)), written.cameras()
    size = (FRAMES, cameras.height, cameras.width)
    assert (passes.rgb.shape, passes.rgb.dtype) == ((*size, 3), np.uint8)
    assert (passes.depth_m.shape, passes.depth_m.dtype) == (size, np.float32)
    assert passes.foreground.shape == passes.visible.shape == size
    assert passes.foreground.dtype == passes.visible.dtype == np.bool_
    assert (passes.depth_m > 0).all()
    np.testing.assert_array_equal(np.isfinite(passes.depth_m), passes.visible)
    assert passes.foreground.any() and not (passes.foreground & ~passes.visible).any()
    near, far = written.depth_range_m()
    seen = passes.depth_m[passes.visible]
    assert near <= seen.min() * (1 + 1e-6) and seen.max() <= far * (1 + 1e-6)


def test_flow_leads_to_the_next_frame(written: RenderFolder) -> None:
    if not written.has_flow:
        assert read_coarse_shot(written.path, FRAMES).motion() is None
        return
    size = written.rgb(1).shape[:2]
    for frame in range(1, FRAMES):
        flow_px = written.flow_px(frame)
        assert flow_px.shape == (*size, 2) and flow_px.dtype == np.float32
        assert np.isfinite(flow_px[written.visible(frame)]).all()
    assert not written.file("flow", FRAMES).exists()


@pytest.mark.parametrize("kind", ["nerfstudio", "colmap"])
def test_cameras_go_to_other_programs(kind: str, written: RenderFolder, tmp_path: Path) -> None:
    cameras = written.cameras()
    assert cameras.frames == tuple(range(1, FRAMES + 1))
    write_track(tmp_path / "c", kind, cameras.track(written.path / "cameras.json"))
    back = read_track(tmp_path / "c", kind, (cameras.width, cameras.height))
    np.testing.assert_allclose(back.w2c, cameras.w2c, atol=1e-5)
    np.testing.assert_allclose(back.K, cameras.K, atol=1e-3)
    assert (back.width, back.height) == (cameras.width, cameras.height)


def test_a_shot_is_read_with_its_cameras(written: RenderFolder) -> None:
    shot = read_coarse_shot(written.path, FRAMES, [2, 3])
    np.testing.assert_array_equal(shot.poses, written.cameras().w2c[1:])
    np.testing.assert_array_equal(shot.depth_m[0].numpy(), written.depth_m(2))
    np.testing.assert_array_equal((shot.rgb[1] * 255).round().byte().permute(1, 2, 0), written.rgb(3))
    with pytest.raises(ArtifactError, match="has 3 cameras but the shot 4 frames"):
        read_coarse_shot(written.path, FRAMES + 1, [2, 3])


# ---------------------------------------------------------------- what is refused
def frame(**changes: NDArray) -> CoarseFrame:
    good = {
        "rgb": np.zeros((4, 6, 3), np.uint8),
        "depth_m": np.ones((4, 6), np.float32),
        "foreground": np.zeros((4, 6), bool),
        "visible": np.ones((4, 6), bool),
        "flow_px": np.zeros((4, 6, 2), np.float32),
    }
    return CoarseFrame(**(good | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rgb": np.zeros((4, 6, 4), np.uint8)}, "rgb of a coarse frame"),
        ({"depth_m": np.ones((4, 5), np.float32)}, r"depth_m of a coarse frame is \(4, 5\) float32"),
        ({"depth_m": np.zeros((4, 6), np.float32)}, "not positive"),
        ({"depth_m": np.full((4, 6), np.nan, np.float32)}, "NaN"),
        ({"visible": np.ones((4, 6), np.uint8)}, r"visible .* uint8; expected \(4, 6\) bool"),
        ({"flow_px": np.zeros((4, 6), np.float32)}, "flow_px"),
    ],
)
def test_passes_that_do_not_belong_together_are_not_written(changes, message: str) -> None:
    assert frame().flow_px is not None
    with pytest.raises(ShapeError, match=message):
        frame(**changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "has format 2, expected 1"),
        ({"width": "32"}, "is not the cameras of a render .width: "),
        ({"w2c": None}, "w2c: "),
        ({"K": [[[1, 0, 0], [0, 1, 0]]]}, r"K\.0\.2: "),
        ({"frames": [1, 2]}, "has 2 and 3 and 3 numbers"),
        ({"depth_range_m": [float("nan"), 1]}, r"depth_range_m\.0: .*finite"),
    ],
)
def test_damaged_cameras_are_named(change, message: str, tmp_path: Path) -> None:
    path = moving_disc(tmp_path / "render") / "cameras.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ArtifactError, match=message) as raised:
        RenderedCameras.load(path)
    assert "\n" not in str(raised.value)


def test_a_render_that_shows_nothing_has_no_range(tmp_path: Path) -> None:
    path = moving_disc(tmp_path / "render") / "cameras.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"depth_range_m": None}))
    with pytest.raises(ArtifactError, match="holds no depth_range_m"):
        RenderFolder(tmp_path / "render").depth_range_m()


def test_angles_of_views_survive(tmp_path: Path) -> None:
    cameras = RenderedCameras(
        8, 8, (1, 2), np.tile(K, (2, 1, 1)), np.tile(np.eye(4), (2, 1, 1)), (1.0, 2.0), 8, False,
        ((0.0, 10.0), (90.0, 10.0)),
    )  # fmt: skip
    cameras.save(tmp_path)
    assert RenderedCameras.load(tmp_path / "cameras.json").angles_deg == cameras.angles_deg


def test_folders_and_files_load_without_torch() -> None:
    """Planning and Blender's processes import these."""
    code = (
        "import sys, i2v3d.artifacts.folders, i2v3d.artifacts.files, i2v3d.artifacts.render_folder;"
        "import i2v3d.artifacts.views_folder, i2v3d.artifacts.scene_spec; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
