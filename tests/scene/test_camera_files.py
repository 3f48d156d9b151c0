"""Cameras to and from nerfstudio, COLMAP and the look-at JSON, exact to the bars; broken files are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from i2v3d.errors import InputError
from i2v3d.geometry import cameras as geometry
from i2v3d.geometry.camera_track import CameraTrack
from i2v3d.scene.motion.camera_files import read_track, write_track

SIZE = (1024, 576)
KINDS = {"nerfstudio": "transforms.json", "colmap": "sparse", "look_at": "cameras.json"}
POSE_ERROR, REPROJECTION_PX = 1e-4, 0.05


def cameras(frames: int = 12, zoom: float = 0.0, centre: tuple[float, float] = (512.0, 288.0)) -> CameraTrack:
    """Cameras that fly, turn and roll."""
    rng = np.random.default_rng(0)
    c2w = []
    for n in range(frames):
        offset = np.array([0.3 * n, -5, 2])
        pose = geometry.look_at(offset + rng.normal(size=3), rng.normal(size=3))
        pose[:3, :3] = pose[:3, :3] @ geometry.rotation((0, 0, 1), 5.0 * n)
        c2w.append(pose)
    K = np.stack([geometry.intrinsics(900.0 + zoom * n, *centre) for n in range(frames)])
    return CameraTrack(*SIZE, K, np.array(c2w))


def reprojection_px(a: CameraTrack, b: CameraTrack) -> float:
    """The largest distance between the images of points in front of the cameras."""
    pixels = np.random.default_rng(1).uniform((0, 0), SIZE, (500, 2))
    worst = 0.0
    for Ka, wa, Kb, wb in zip(a.K, a.w2c, b.K, b.w2c, strict=True):
        points = geometry.unproject(pixels, np.linspace(0.5, 50, 500), Ka, wa)
        worst = max(worst, float(np.abs(geometry.project(points, Kb, wb)[0] - pixels).max()))
    return worst


@pytest.mark.parametrize("kind", KINDS)
def test_round_trips_keep_every_pose_and_pixel(kind: str, tmp_path: Path) -> None:
    track = cameras() if kind == "look_at" else cameras(zoom=7.0, centre=(500.5, 301.25))
    write_track(tmp_path / KINDS[kind], kind, track)
    again = read_track(tmp_path / KINDS[kind], kind, SIZE)
    assert (again.width, again.height, again.frames) == (*SIZE, track.frames)
    assert np.abs(again.c2w - track.c2w).max() < POSE_ERROR
    assert reprojection_px(track, again) < REPROJECTION_PX


def test_frames_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    track = cameras()
    write_track(tmp_path / "t.json", "nerfstudio", track)
    data = json.loads((tmp_path / "t.json").read_text())
    for number, frame in enumerate(data["frames"], start=1):
        frame["file_path"] = f"frame_{number}.png"
    data["frames"] = data["frames"][::-1]
    (tmp_path / "t.json").write_text(json.dumps(data))
    np.testing.assert_allclose(read_track(tmp_path / "t.json", "nerfstudio", SIZE).c2w, track.c2w)


def test_a_nerf_of_blender_s_kind_gives_its_angle(tmp_path: Path) -> None:
    """camera_angle_x in radians, no centre; camera axes are x right, y up, z back."""
    pose = np.eye(4).tolist()
    data = {"camera_angle_x": np.pi / 2, "w": 200, "h": 100, "frames": [{"transform_matrix": pose}]}
    (tmp_path / "t.json").write_text(json.dumps(data))
    track = read_track(tmp_path / "t.json", "nerfstudio", SIZE)
    np.testing.assert_allclose(track.K[0], geometry.intrinsics(100.0, 100.0, 50.0))
    assert track.c2w[0, :3, 2] == pytest.approx((0, 0, -1))


def test_colmap_s_other_models_and_order(tmp_path: Path) -> None:
    (tmp_path / "cameras.txt").write_text("# c\n7 SIMPLE_RADIAL 200 100 150 100 50 0\n")
    rows = "2 1 0 0 0 0 0 2 7 img10.png\n1 2 3\n1 1 0 0 0 0 0 1 7 img2.png\n\n"
    (tmp_path / "images.txt").write_text(f"# i\n{rows}")
    track = read_track(tmp_path, "colmap", SIZE)
    np.testing.assert_allclose(track.K[0], geometry.intrinsics(150.0, 100.0, 50.0))
    np.testing.assert_allclose(track.c2w[:, 2, 3], [-1, -2])


def test_the_look_at_angle_spans_the_longer_side(tmp_path: Path) -> None:
    data = {"start_pos": [[0, 0, 0]], "end_pos": [[0, 2, 0]], "up_pos": [[0, 2, 1]], "fov": 90}
    (tmp_path / "c.json").write_text(json.dumps(data))
    track = read_track(tmp_path / "c.json", "look_at", (200, 100))
    assert track.K[0, 0, 0] == pytest.approx(100.0)
    assert track.c2w[0, :3, 2] == pytest.approx((0, 1, 0)) and track.c2w[0, :3, 1] == pytest.approx(
        (0, 0, -1)
    )
    upright = read_track(tmp_path / "c.json", "look_at", (100, 200))
    assert upright.K[0, 0, 0] == pytest.approx(100.0)


def changed(change: Callable[[dict], object]) -> Callable[[Path], tuple[Path, str]]:
    """A nerfstudio file with something wrong in it."""

    def write(folder: Path) -> tuple[Path, str]:
        write_track(folder / "t.json", "nerfstudio", cameras(3))
        data = json.loads((folder / "t.json").read_text())
        change(data)
        (folder / "t.json").write_text(json.dumps(data))
        return folder / "t.json", "nerfstudio"

    return write


def set_matrix(matrix: object) -> Callable[[Path], tuple[Path, str]]:
    return changed(lambda data: data["frames"][1].update(transform_matrix=matrix))


def look_at(**data: object) -> Callable[[Path], tuple[Path, str]]:
    def write(folder: Path) -> tuple[Path, str]:
        whole = {"start_pos": [[0, 0, 0]], "end_pos": [[0, 2, 0]], "up_pos": [[0, 2, 1]], "fov": 90} | data
        (folder / "c.json").write_text(json.dumps(whole))
        return folder / "c.json", "look_at"

    return write


def colmap(lens: str) -> Callable[[Path], tuple[Path, str]]:
    def write(folder: Path) -> tuple[Path, str]:
        (folder / "cameras.txt").write_text(f"1 {lens}\n")
        (folder / "images.txt").write_text("1 1 0 0 0 0 0 2 1 a.png\n\n")
        return folder, "colmap"

    return write


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: (folder / "none.json", "nerfstudio"), "cannot be read as nerfstudio .FileNotFound"),
        (lambda folder: (folder, "colmap"), "cannot be read as colmap"),
        (changed(lambda data: data.pop("frames")), "cannot be read .KeyError|cannot be read as"),
        (changed(lambda data: data.update(frames=[])), "has no frames"),
        (changed(lambda data: data.update(k1=0.1)), "lens distortion"),
        (changed(lambda data: data["frames"][0].update(w=5)), "mixes picture sizes"),
        (changed(lambda data: data["frames"][2].update(fl_x=-1.0)), "camera 3 .* focal length"),
        (set_matrix(np.full((4, 4), np.nan).tolist()), "camera 2 .* not finite"),
        (set_matrix((2 * np.eye(4)).tolist()), "camera 2 .* no rotation and translation"),
        (set_matrix(np.diag([1.0, 1, -1, 1]).tolist()), "camera 2 .* mirroring"),
        (set_matrix([1, 2]), "cannot be read as"),
        (look_at(end_pos=[[0, 0, 0]]), "has no direction"),
        (look_at(up_pos=[]), "1 start_pos, 1 end_pos and 0 up_pos"),
        (colmap("OPENCV 200 100 150 150 100 50 0.1 0 0 0"), "lens distortion"),
        (colmap("FISHEYE 200 100 150 150 100 50"), "has model FISHEYE"),
        (colmap("PINHOLE 200 100 150"), "cannot be read as colmap"),
    ],
)
def test_broken_camera_files_are_refused_in_one_line(write, message: str, tmp_path: Path) -> None:
    path, kind = write(tmp_path)
    with pytest.raises(InputError, match=message) as raised:
        read_track(path, kind, SIZE)
    assert str(tmp_path) in str(raised.value) and "\n" not in str(raised.value)


def test_what_a_format_cannot_say_is_not_written(tmp_path: Path) -> None:
    for track in (cameras(zoom=1.0), cameras(centre=(500.0, 288.0))):
        with pytest.raises(InputError, match="one field of view and a centred lens"):
            write_track(tmp_path / "c.json", "look_at", track)
    with pytest.raises(InputError, match="did you mean 'colmap'"):
        write_track(tmp_path / "c", "colmat", cameras())
