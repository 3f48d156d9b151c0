"""Cameras as other programs write them: every pose at its own frame, or a refusal that says what is read."""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from i2v3d.errors import InputError
from i2v3d.geometry.camera_track import CameraTrack
from i2v3d.geometry.cameras import intrinsics, invert_pose
from i2v3d.scene.motion.camera_files import FORMATS, read_track, write_track
from i2v3d.scene.motion.track_gaps import without_gaps

SIZE, COUNT = (640, 480), 6
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
HEAD = "# Image list\n#   IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME\n"
POINTS = "100.5 200.5 -1 300.1 20.0 5"


def poses(count: int = COUNT) -> np.ndarray:
    """(count, 4, 4) c2w, OpenCV axes: a camera that moves and turns evenly."""
    found = np.tile(np.eye(4), (count, 1, 1))
    found[:, :3, :3] = Rotation.from_euler("y", 2.0 * np.arange(count)[:, None], degrees=True).as_matrix()
    found[:, :3, 3] = np.arange(count)[:, None] * [0.1, 0.0, 0.02] + [0, 0, 2]
    return found


def image_lines(names: list[str], numbers: list[int] | None = None) -> list[str]:
    w2c = invert_pose(poses(max(numbers or [len(names)])))
    lines = []
    for row, (name, number) in enumerate(zip(names, numbers or range(1, 1 + len(names)), strict=True), 1):
        x, y, z, w = Rotation.from_matrix(w2c[number - 1, :3, :3]).as_quat()
        values = " ".join(repr(float(v)) for v in (w, x, y, z, *w2c[number - 1, :3, 3]))
        lines.append(f"{row} {values} 1 {name}")
    return lines


def colmap(folder: Path, images: str, lens: str = "PINHOLE 640 480 500 500 320 240") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cameras.txt").write_text(f"# one\n1 {lens}\n")
    (folder / "images.txt").write_text(images)
    return folder


def names(numbers: Any = range(1, COUNT + 1), form: str = "frame_{:05d}.jpg") -> list[str]:
    return [form.format(number) for number in numbers]


COLMAP_TEXTS: dict[str, str] = {
    "points in every second line": HEAD + "".join(f"{line}\n{POINTS}\n" for line in image_lines(names())),
    "no point lines": HEAD + "".join(f"{line}\n" for line in image_lines(names())),
    "empty point lines": HEAD + "".join(f"{line}\n\n" for line in image_lines(names())),
    "some point lines": HEAD + "".join(
        f"{line}\n" + (POINTS + "\n") * (n % 2) for n, line in enumerate(image_lines(names()))
    ),
    "blank header line": "\n" + HEAD + "\n" + "".join(f"{line}\n\n" for line in image_lines(names())),
    "header between": HEAD + "".join(f"{line}\n# points\n{POINTS}\n" for line in image_lines(names())),
    "carriage returns": HEAD + "".join(f"{line}\r\n{POINTS}\r\n" for line in image_lines(names())),
    "byte order mark": "\ufeff" + HEAD + "".join(f"{line}\n\n" for line in image_lines(names())),
    "spaces in names": HEAD + "".join(f"{l}\n{POINTS}\n" for l in image_lines(names(form="my shot/frame {}.jpg"))),
    "whole numbers in points": HEAD + "".join(f"{line}\n1 0 0 0 0 0 0 0 1 5 5 2\n" for line in image_lines(names())),
    "backwards": HEAD + "".join(f"{line}\n\n" for line in reversed(image_lines(names()))),
    "numbers as names": HEAD + "".join(f"{line}\n" for line in image_lines(names(form="{}"))),
}  # fmt: skip


@pytest.mark.parametrize("kind", COLMAP_TEXTS)
def test_colmaps_text_is_read_by_its_content(kind: str, tmp_path: Path) -> None:
    track = read_track(colmap(tmp_path / "sparse", COLMAP_TEXTS[kind]), "colmap", SIZE)
    np.testing.assert_allclose(track.c2w, poses(), atol=1e-9)
    assert track.numbers == tuple(range(1, COUNT + 1))


def binary_colmap(folder: Path, model: int = 1, values: tuple[float, ...] = (500, 500, 320, 240)) -> Path:
    folder.mkdir(parents=True)
    camera = struct.pack(f"<QiiQQ{len(values)}d", 1, 1, model, *SIZE, *values)
    (folder / "cameras.bin").write_bytes(camera)
    images = struct.pack("<Q", COUNT)
    for line in image_lines(names()):
        number, *pose, _, name = line.split()
        images += struct.pack("<i7di", int(number), *map(float, pose), 1) + name.encode() + b"\0"
        images += struct.pack("<Qddq", 1, 1.5, 2.5, -1)
    (folder / "images.bin").write_bytes(images)
    return folder


@pytest.mark.parametrize("inside", ["", "sparse/0", "sparse", "0"])
def test_colmaps_binary_is_read_wherever_programs_put_it(inside: str, tmp_path: Path) -> None:
    binary_colmap(tmp_path / "model" / inside)
    track = read_track(tmp_path / "model", "colmap", SIZE)
    np.testing.assert_allclose(track.c2w, poses(), atol=1e-9)
    np.testing.assert_array_equal(track.K[0], intrinsics(500, 320, 240))
    assert track.numbers == tuple(range(1, COUNT + 1))


def nerf(**changes: Any) -> dict[str, Any]:
    """transforms.json of the same cameras, focal length 500."""
    frames = [
        {"file_path": f"images/{name}", "transform_matrix": (pose @ OPENGL).tolist()}
        for name, pose in zip(names(), poses(), strict=True)
    ]
    return {"w": 640, "h": 480, "fl_x": 500, "fl_y": 500, "cx": 320, "cy": 240, "frames": frames} | changes


def without(*keys: str, **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in nerf(**changes).items() if key not in keys}


ANGLE = 2 * np.arctan(320 / 500)
NERFS = {
    "whole": nerf(),
    "synthetic, without a size": without("w", "h", "fl_x", "fl_y", "cx", "cy", camera_angle_x=ANGLE),
    "instant-ngp": without("fl_x", "fl_y", "cx", "cy", camera_angle_x=ANGLE, camera_angle_y=0.9),
    "a size by its centre": without("w", "h"),
    "no distortion in words": nerf(k1=0, k2=0.0, camera_model="OPENCV", applied_transform=[[0, 1, 0, 0]]),
    "three rows": nerf(
        frames=[f | {"transform_matrix": f["transform_matrix"][:3]} for f in nerf()["frames"]]
    ),
    "without names": nerf(frames=[{"transform_matrix": f["transform_matrix"]} for f in nerf()["frames"]]),
    "backwards": nerf(frames=nerf()["frames"][::-1]),
}


@pytest.mark.parametrize("kind", NERFS)
def test_transforms_of_every_program_are_read(kind: str, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps(NERFS[kind]))
    track = read_track(tmp_path / "t.json", "nerfstudio", SIZE)
    np.testing.assert_allclose(track.c2w, poses(), atol=1e-9)
    np.testing.assert_allclose(track.K, np.tile(intrinsics(500, 320, 240), (COUNT, 1, 1)), atol=1e-9)
    assert (track.width, track.height) == SIZE


def test_realestate10k_and_dust3r_are_read(tmp_path: Path) -> None:
    w2c = invert_pose(poses())
    lens = f"{500 / 640} {500 / 480} 0.5 0.5 0 0"
    rows = [f"{33333 * n} {lens} {' '.join(map(repr, m[:3].ravel().tolist()))}" for n, m in enumerate(w2c)]
    (tmp_path / "a.txt").write_text("\n".join(["https://example.org/video", *rows]) + "\n")
    data = {"focals": [500.0] * COUNT, "principal_points": [[320, 240]] * COUNT, "poses": poses().tolist()}
    (tmp_path / "b.json").write_text(json.dumps(data))
    for name, kind in (("a.txt", "realestate10k"), ("b.json", "dust3r")):
        track = read_track(tmp_path / name, kind, SIZE)
        np.testing.assert_allclose(track.c2w, poses(), atol=1e-9)
        np.testing.assert_allclose(track.K[-1], intrinsics(500, 320, 240), atol=1e-9)
        assert (track.width, track.height) == SIZE


# ---------------------------------------------------------------- gaps
def gapped_colmap(folder: Path, numbers: list[int]) -> CameraTrack:
    text = HEAD + "".join(f"{line}\n\n" for line in image_lines(names(numbers), numbers))
    return read_track(colmap(folder, text), "colmap", SIZE)


def gapped_nerf(folder: Path, numbers: list[int]) -> CameraTrack:
    frames = [frame for number, frame in enumerate(nerf()["frames"], 1) if number in numbers]
    (folder / "t.json").write_text(json.dumps(nerf(frames=frames)))
    return read_track(folder / "t.json", "nerfstudio", SIZE)


@pytest.mark.parametrize("read", [gapped_colmap, gapped_nerf])
def test_cameras_stand_at_their_own_frames(
    read: Callable[[Path, list[int]], CameraTrack], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    track = read(tmp_path, [1, 2, 5, 6])
    assert track.frames == 4  # as the file has them, for what is no animation
    full = without_gaps(track, "it")
    np.testing.assert_allclose(full.c2w, poses(), atol=1e-9)  # an even motion is interpolated exactly
    assert caplog.messages == ["it lacks the cameras of frames 3, 4: they are interpolated"]


def test_a_common_step_counts_every_frame_and_far_apart_numbers_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    K = np.tile(intrinsics(500, 320, 240), (COUNT, 1, 1))
    for numbers in ((10, 20, 30, 40, 50, 60), (0, 1, 2, 3, 4, 5), None):
        assert without_gaps(CameraTrack(*SIZE, K, poses(), numbers), "it").frames == COUNT
    assert not caplog.messages
    assert without_gaps(CameraTrack(*SIZE, K, poses(), (1, 2, 3, 4, 5, 900)), "it").frames == COUNT
    assert caplog.messages == [
        "it lacks most frames between its first and last: its cameras follow one another"
    ]


# ---------------------------------------------------------------- lenses
LENSES = {
    "SIMPLE_RADIAL": "SIMPLE_RADIAL 640 480 500 320 240 {}",
    "OPENCV": "OPENCV 640 480 500 500 320 240 {} 0 0 0",
    "OPENCV_FISHEYE": "OPENCV_FISHEYE 640 480 500 500 320 240 {} 0 0 0",
}


@pytest.mark.parametrize("lens", LENSES)
def test_a_distorted_lens_gives_its_path_with_a_warning_and_no_pixels(
    lens: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = HEAD + "".join(f"{line}\n\n" for line in image_lines(names()))
    folder = colmap(tmp_path, text, LENSES[lens].format(0.1))
    with pytest.raises(InputError, match=r"distortion|has model OPENCV_FISHEYE.*undistort"):
        read_track(folder, "colmap", SIZE)
    np.testing.assert_allclose(read_track(folder, "colmap", SIZE, path_only=True).c2w, poses(), atol=1e-9)
    assert "which is left out: its path is taken" in caplog.text


@pytest.mark.parametrize("lens", ["SIMPLE_RADIAL", "OPENCV"])
def test_a_lens_without_distortion_is_a_pinhole(lens: str, tmp_path: Path) -> None:
    text = HEAD + "".join(f"{line}\n\n" for line in image_lines(names()))
    track = read_track(colmap(tmp_path, text, LENSES[lens].format(0)), "colmap", SIZE)
    np.testing.assert_array_equal(track.K[0], intrinsics(500, 320, 240))


def test_one_up_direction_is_told_from_points(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    start = [[0, 0, k] for k in range(COUNT)]
    end = [[0, 1, k] for k in range(COUNT)]
    for up, said in (([[0, 1, k + 1] for k in range(COUNT)], False), ([[0, 0, 1]] * COUNT, True)):
        data = {"start_pos": start, "end_pos": end, "up_pos": up, "fov": 45}
        (tmp_path / "c.json").write_text(json.dumps(data))
        track = read_track(tmp_path / "c.json", "look_at", SIZE)
        np.testing.assert_allclose(track.c2w[:, :3, 1], np.tile([0, 0, -1.0], (COUNT, 1)), atol=1e-9)
        assert ("taken for one direction" in caplog.text) == said


# ---------------------------------------------------------------- refusals
def text(content: str | bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "c.json").write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder / "c.json"

    return write


REFUSED: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "list for an object": ("nerfstudio", text('[{"frame": 0}]'), "formats that are read: nerfstudio"),
    "no frames": ("nerfstudio", text('{"frames": []}'), "has no frames"),
    "focal without a size": (
        "nerfstudio",
        text(json.dumps(without("w", "h", "cx", "cy"))),
        "in pixels but no w and h",
    ),
    "scaled": (
        "nerfstudio",
        text(json.dumps(nerf(frames=[{"transform_matrix": (0.5 * np.eye(4)).tolist()}]))),
        "no rotation and translation",
    ),
    "two rows": (
        "nerfstudio",
        text(json.dumps(nerf(frames=[{"transform_matrix": np.eye(4)[:2].tolist()}]))),
        "poses of",
    ),
    "an angle of nothing": (
        "nerfstudio",
        text('{"camera_angle_x": 0, "frames": [{"transform_matrix": []}]}'),
        "a field of view of 0.0 degrees; expected between 0 and 180",
    ),
    "an angle without end": (
        "nerfstudio",
        text('{"camera_angle_x": 1e999, "frames": [{"transform_matrix": []}]}'),
        "a field of view of inf degrees",
    ),
    "an open lens": (
        "look_at",
        text('{"start_pos": [[0,0,0]], "end_pos": [[0,1,0]], "up_pos": [[0,1,1]], "fov": 180}'),
        "a field of view of 180.0 degrees",
    ),
    "a pose without end": (
        "nerfstudio",
        text(json.dumps(nerf(frames=[{"transform_matrix": np.diag([1e999, 1, 1, 1]).tolist()}]))),
        "camera 1 of .* is not finite; export it again",
    ),
    "binary noise": ("nerfstudio", text(bytes(range(256))), "formats that are read"),
    "an empty folder": ("colmap", lambda folder: folder, "neither cameras.txt and images.txt nor"),
    "cut binary": (
        "colmap",
        lambda folder: cut(binary_colmap(folder / "sparse"), "images.bin"),
        "cannot be read as colmap",
    ),
    "binary of ones": (
        "colmap",
        lambda folder: filled(binary_colmap(folder / "sparse"), b"\1" * 80),
        "cannot be read as colmap",
    ),
    "a line of words": (
        "colmap",
        lambda folder: colmap(folder, "what is this\n"),
        "neither an image nor a list of points",
    ),
    "unknown model": (
        "colmap",
        lambda folder: colmap(folder, image_lines(names())[0], "FANCY 640 480 1"),
        "has model FANCY",
    ),
    "few parameters": (
        "colmap",
        lambda folder: colmap(folder, image_lines(names())[0], "PINHOLE 640 480 1"),
        "has 1 parameters",
    ),
    "unequal lists": (
        "look_at",
        text('{"start_pos": [[0,0,0]], "end_pos": [], "up_pos": [[0,0,1]], "fov": 45}'),
        "has 1 start_pos, 0 end_pos and 1 up_pos",
    ),
    "short lines": ("realestate10k", text("https://x\n1 2 3\n"), "0 of 2 lines"),
    "no poses": ("dust3r", text('{"focals": [1]}'), "KeyError: 'poses'"),
}


def cut(folder: Path, name: str) -> Path:
    (folder / name).write_bytes((folder / name).read_bytes()[:-40])
    return folder


def filled(folder: Path, content: bytes) -> Path:
    for name in ("cameras.bin", "images.bin"):
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    kind, write, message = REFUSED[name]
    path = write(tmp_path)
    with pytest.raises(InputError, match=message) as raised:
        read_track(path, kind, SIZE)
    assert "\n" not in str(raised.value) and str(path) in str(raised.value)


def test_every_format_is_named_in_the_configuration() -> None:
    from typing import get_args

    from i2v3d.config.control import CameraFormat

    assert set(get_args(CameraFormat)) == set(FORMATS)
    for kind in ("realestate10k", "dust3r"):
        with pytest.raises(InputError, match="no camera format that is written"):
            write_track(Path("x"), kind, CameraTrack(*SIZE, np.zeros((0, 3, 3)), np.zeros((0, 4, 4))))
