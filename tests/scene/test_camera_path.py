"""Explicit cameras, other programs' cameras, handheld shake, and any part of the timeline."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from i2v3d.config.control import (
    CameraConfig,
    CameraKeyConfig,
    CameraMoveConfig,
    CameraTrackConfig,
    HandheldConfig,
)
from i2v3d.errors import ConfigError, InputError
from i2v3d.geometry import cameras as geometry
from i2v3d.geometry.camera_track import CameraTrack
from i2v3d.scene.motion.animation import Shot
from i2v3d.scene.motion.camera_path import OPENCV_FROM_BLENDER, Path, View, camera_path, path_keys

WIDTH, HEIGHT = 96, 64
SHOT = Shot(start_frame=1, frames=9, fps=8)
PHOTO = View(geometry.look_at((0.0, 0.0, 1.0), (0.0, 2.0, 0.5)), 120.0)
PIVOT = (0.0, 2.0, 0.5)
STILL = CameraConfig(fov_deg=45.0, track=None, keys=(), moves=(), handheld=None)


def key(frame: int, **changes) -> CameraKeyConfig:
    values = {"position_m": (1.0, 0.0, 1.0), "look_at_m": PIVOT, "rotation_deg": None, "fov_deg": None}
    return CameraKeyConfig(frame=frame, interpolation="LINEAR", **(values | changes))


def path(cfg: CameraConfig, shot: Shot = SHOT, track: CameraTrack | None = None) -> Path:
    return camera_path(cfg, shot, PHOTO, (WIDTH, HEIGHT), PIVOT, track)


def poses(cfg: CameraConfig, shot: Shot = SHOT, track: CameraTrack | None = None) -> np.ndarray:
    return np.array([view.c2w for view in path(cfg, shot, track).views])


# ---------------------------------------------------------------- explicit poses
def test_a_camera_on_keys_looks_at_the_points_between_their_targets() -> None:
    keys = (key(1, look_at_m=(0.0, 2.0, 0.0)), key(9, position_m=(-1.0, 0.5, 2.0), look_at_m=(0.4, 3.0, 1.0)))
    views = path(replace(STILL, keys=keys)).views
    for number, view in enumerate(views):
        share = number / 8
        assert view.c2w[:3, 3] == pytest.approx((1 - 2 * share, 0.5 * share, 1 + share))
        target = np.array([0.4 * share, 2 + share, share])
        pixel, _ = geometry.project(
            target, geometry.intrinsics(120.0, 48, 32), geometry.invert_pose(view.c2w)
        )
        assert pixel == pytest.approx((48, 32)) and view.focal_px == pytest.approx(120.0)


def test_the_camera_sets_out_from_the_photo_s_view_unless_a_key_is_at_frame_one() -> None:
    track = poses(replace(STILL, keys=(key(9),)))
    np.testing.assert_array_equal(track[0], PHOTO.c2w)
    assert track[-1][:3, 3] == pytest.approx((1.0, 0.0, 1.0))
    assert track[4][:3, 3] == pytest.approx((0.5, 0.0, 1.0))
    assert not np.allclose(poses(replace(STILL, keys=(key(1), key(9))))[0], PHOTO.c2w)


def test_rotations_are_blender_s_euler_angles_and_turn_the_short_way() -> None:
    keys = (
        key(1, look_at_m=None, rotation_deg=(90.0, 0.0, 0.0)),
        key(9, look_at_m=None, rotation_deg=(90.0, 0.0, 40.0)),
    )
    track = poses(replace(STILL, keys=keys))
    assert track[0][:3, 2] == pytest.approx((0.0, 1.0, 0.0), abs=1e-12)  # a Blender camera looks along -z
    expected = Rotation.from_euler("xyz", (90.0, 0.0, 10.0), degrees=True).as_matrix() @ OPENCV_FROM_BLENDER
    np.testing.assert_allclose(track[2][:3, :3], expected, atol=1e-12)


def test_a_field_of_view_zooms_at_a_constant_rate() -> None:
    views = path(replace(STILL, keys=(key(1, fov_deg=60.0), key(9, fov_deg=30.0)))).views
    focal = np.array([view.focal_px for view in views])
    assert focal[[0, -1]] == pytest.approx([geometry.focal_from_fov(f, WIDTH) for f in (60.0, 30.0)])
    np.testing.assert_allclose(focal[1:] / focal[:-1], (focal[1:] / focal[:-1])[0])


def bezier(frame: int, x: float, **changes) -> CameraKeyConfig:
    return replace(key(frame, position_m=(x, 0.0, 1.0), **changes), interpolation="BEZIER")


def test_bezier_eases_between_two_poses_and_runs_through_one_between() -> None:
    two = poses(replace(STILL, keys=(bezier(1, 0.0), bezier(9, 1.0))))[:, 0, 3]
    u = np.linspace(0, 1, 9)
    np.testing.assert_allclose(two, u * u * (3 - 2 * u), atol=1e-12)
    through = poses(replace(STILL, keys=(bezier(1, 0.0), bezier(5, 1.0), bezier(9, 2.0))))[:, 0, 3]
    steps = np.diff(through)
    assert through[4] == 1.0 and steps[3] > 0.25 and steps[4] > 0.25  # it does not stop there
    assert steps[0] < 0.12 and steps[-1] < 0.12  # but at both ends
    there_and_back = poses(replace(STILL, keys=(bezier(1, 0.0), bezier(5, 1.0), bezier(9, 0.0))))[:, 0, 3]
    assert there_and_back.max() == 1.0 and np.argmax(there_and_back) == 4  # and never overshoots
    uneven = poses(replace(STILL, keys=(bezier(1, 0.0), bezier(3, 1.0), bezier(9, 1.1))))[:, 0, 3]
    assert (np.diff(uneven) > 0).all() and uneven.max() == pytest.approx(1.1)


def test_bezier_turns_run_through_a_pose_too() -> None:
    angles = {1: 0.0, 5: 20.0, 9: 40.0}
    keys = tuple(
        bezier(frame, 0.0, look_at_m=None, rotation_deg=(90.0, 0.0, angle)) for frame, angle in angles.items()
    )
    track = poses(replace(STILL, keys=keys))
    turned = np.degrees(np.arctan2(-track[:, 0, 2], track[:, 1, 2]))
    assert turned[[0, 4, 8]] == pytest.approx([0, 20, 40])
    steps = np.diff(turned)
    assert (steps > 0).all() and steps[3] > 5 and steps[4] > 5 and steps[0] < 3


def test_keys_hold_outside_and_moves_come_on_top() -> None:
    crane = CameraMoveConfig("crane", 0.5, 1, 9, "LINEAR")
    plain = poses(replace(STILL, keys=(key(1), key(5, position_m=(2.0, 0.0, 1.0)))))
    np.testing.assert_array_equal(plain[5], plain[4])
    raised = poses(replace(STILL, keys=(key(1), key(5, position_m=(2.0, 0.0, 1.0))), moves=(crane,)))
    np.testing.assert_allclose(raised[:, 2, 3] - plain[:, 2, 3], np.linspace(0, 0.5, 9))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ((key(5), key(2)), r"keys\[1\] is at frame 2, after one at frame 5"),
        ((key(10),), r"keys\[0\] uses frame 10 but the shot has frames 1 to 9"),
        ((key(1, rotation_deg=(0.0, 0.0, 0.0)),), "either look_at_m or rotation_deg"),
        ((key(1, look_at_m=None),), "either look_at_m or rotation_deg"),
        ((key(1, position_m=PIVOT),), "no direction to look in"),
        ((key(1, position_m=(0.0, 2.0, 3.0)),), "no direction to look in"),
        ((key(1, look_at_m=(4.0, 0.0, 1.0)), key(9, look_at_m=(-2.0, 0.0, 1.0))), "at frame 5 has no direction"),
    ],
)  # fmt: skip
def test_impossible_keys_are_refused(keys, message) -> None:
    with pytest.raises(ConfigError, match=message):
        path(replace(STILL, keys=keys))


def test_numbers_that_are_not_finite_are_refused() -> None:
    broken = key(1)
    object.__setattr__(broken, "position_m", (np.nan, 0.0, 0.0))
    with pytest.raises(ConfigError, match="not finite"):
        path(replace(STILL, keys=(broken,)))


# ---------------------------------------------------------------- part of the timeline
def test_a_later_start_shows_the_same_motion_from_there_on() -> None:
    cfg = replace(STILL, moves=(CameraMoveConfig("orbit", 20.0, 3, 14, "BEZIER"),))
    later = Shot(13, 5, 8)
    np.testing.assert_array_equal(poses(cfg, later), poses(cfg, Shot(1, 20, 8))[12:17])
    assert [k.frame for k in path_keys(path(cfg, later), later)] == [13, 14, 15, 16, 17]
    with pytest.raises(ConfigError, match="uses frame 14 but the shot has frames 6 to 10"):
        path(cfg, Shot(6, 5, 8))


# ---------------------------------------------------------------- handheld
SHAKE = HandheldConfig(position_m=0.01, rotation_deg=0.5, frequency_hz=1.5, seed=3)


def test_shake_is_seeded_smooth_of_its_size_and_none_at_the_first_frame() -> None:
    shot = Shot(1, 400, 24)
    one, two = poses(replace(STILL, handheld=SHAKE), shot), poses(replace(STILL, handheld=SHAKE), shot)
    np.testing.assert_array_equal(one, two)
    assert not np.allclose(one, poses(replace(STILL, handheld=replace(SHAKE, seed=4)), shot))
    np.testing.assert_allclose(one[0], PHOTO.c2w, atol=1e-15)
    offset = one[:, :3, 3] - PHOTO.c2w[:3, 3]
    assert 0.005 < offset.std() < 0.02
    turn = Rotation.from_matrix(one[:, :3, :3] @ PHOTO.c2w[:3, :3].T).magnitude()
    assert 0.3 < np.degrees(turn).mean() < 2.0
    assert np.abs(np.diff(offset, axis=0)).max() < 0.25 * np.ptp(offset)  # no jumps from frame to frame


def test_shake_depends_on_time_and_not_on_the_frame_rate() -> None:
    slow = poses(replace(STILL, handheld=SHAKE), Shot(8, 17, 8))
    fast = poses(replace(STILL, handheld=SHAKE), Shot(16, 33, 16))
    np.testing.assert_allclose(fast[::2], slow, atol=1e-12)


# ---------------------------------------------------------------- other programs' cameras
def other_cameras(frames: int = 9, focal_y: float = 240.0) -> CameraTrack:
    c2w = np.stack([geometry.look_at((0.2 * n, -4.0, 2.0), (0.0, 0.0, 1.0)) for n in range(frames)])
    K = np.tile(np.array([[240.0, 0, 90], [0, focal_y, 66], [0, 0, 1]]), (frames, 1, 1))
    return CameraTrack(2 * WIDTH, 2 * HEIGHT, K, c2w)


def tracked(**changes) -> CameraConfig:
    values = {"file": "x.json", "format": "nerfstudio", "align": "world", "scale": 1.0} | changes
    return replace(STILL, track=CameraTrackConfig(**values))


def test_a_track_is_taken_as_it_is_or_carried_to_the_photo_s_view() -> None:
    track = other_cameras()
    found = path(tracked(scale=0.5), track=track)
    scaled = track.c2w.copy()
    scaled[:, :3, 3] *= 0.5
    np.testing.assert_allclose([view.c2w for view in found.views], scaled)
    assert {view.focal_px for view in found.views} == {120.0} and (found.cx_px, found.cy_px) == (45.0, 33.0)
    carried = poses(tracked(align="photo"), track=track)
    np.testing.assert_allclose(carried[0], PHOTO.c2w, atol=1e-12)
    motion = geometry.invert_pose(carried[0]) @ carried
    np.testing.assert_allclose(motion, geometry.invert_pose(track.c2w[0]) @ track.c2w, atol=1e-12)


def test_tracks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"5 cameras but the shot ends at frame 9; give scene\.frames = 5"):
        path(tracked(), track=other_cameras(5))
    with pytest.raises(ConfigError, match="not square"):
        path(tracked(), track=other_cameras(focal_y=250.0))
    with pytest.raises(InputError, match="are for 192x128 pictures but the scene is 96x80"):
        camera_path(tracked(), SHOT, PHOTO, (96, 80), PIVOT, other_cameras())
    with pytest.raises(ConfigError, match="has keys and a track"):
        path(replace(tracked(), keys=(key(1),)), track=other_cameras())
