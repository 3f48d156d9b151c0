"""Camera moves and object keys: what each does, that they add up, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from i2v3d.config.control import CameraConfig, CameraMoveConfig, ObjectKeyConfig
from i2v3d.errors import ConfigError
from i2v3d.geometry import cameras as geometry
from i2v3d.scene.motion.animation import Shot, object_keys
from i2v3d.scene.motion.camera_path import View, camera_path, path_keys
from i2v3d.scene.motion.easing import EASINGS

FRAMES, FOCAL = 9, 120.0
PHOTO = geometry.look_at((0.0, 0.0, 1.0), (0.1, 2.0, 0.4))
PIVOT = (0.1, 2.0, 0.4)
K = geometry.intrinsics(FOCAL, 48.0, 32.0)
SHOT = Shot(start_frame=1, frames=FRAMES, fps=8)


def camera_keys(moves, shot: Shot = SHOT):
    """Keys of moves on the photo's own view."""
    cfg = CameraConfig(fov_deg=45.0, track=None, keys=(), moves=tuple(moves), handheld=None)
    return path_keys(camera_path(cfg, shot, View(PHOTO, FOCAL), (96, 64), PIVOT, None), shot)


def move(kind: str, amount: float, start: int = 1, end: int = FRAMES, interpolation: str = "LINEAR"):
    return CameraMoveConfig(kind, amount, start, end, interpolation)


def poses(*moves: CameraMoveConfig) -> np.ndarray:
    return np.array([key.world_from_camera for key in camera_keys(moves)])


def key(frame: int, **changes) -> ObjectKeyConfig:
    values = {"translation_m": (0, 0, 0), "rotation_deg": (0, 0, 0), "scale": (1, 1, 1)}
    values = {name: tuple(float(v) for v in vector) for name, vector in (values | changes).items()}
    return ObjectKeyConfig(frame=frame, interpolation="BEZIER", **values)


ALL = [
    ("orbit", 12),
    ("orbit_up", 8),
    ("dolly", 0.3),
    ("pan", 5),
    ("tilt", -4),
    ("crane", 0.2),
    ("truck", 0.1),
    ("zoom", 1.5),
]


@pytest.mark.parametrize(("kind", "amount"), ALL)
@pytest.mark.parametrize("interpolation", sorted(EASINGS))
def test_frame_one_is_the_photo_s_own_view_bit_for_bit(kind, amount, interpolation):
    keys = camera_keys([move(kind, amount, interpolation=interpolation)])
    np.testing.assert_array_equal(np.array(keys[0].world_from_camera), PHOTO)
    assert keys[0].focal_px == FOCAL
    assert [k.frame for k in keys] == list(range(1, FRAMES + 1))
    assert {k.interpolation for k in keys} == {"LINEAR"}
    last = keys[-1]
    assert last.focal_px != FOCAL or not np.allclose(last.world_from_camera, PHOTO)


def test_without_moves_nothing_moves():
    assert (poses() == PHOTO).all()


def test_all_poses_are_rigid():
    rotations = poses(*(move(*m) for m in ALL))[:, :3, :3]
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (9, 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0)


@pytest.mark.parametrize("kind", ["orbit", "orbit_up"])
def test_an_orbit_keeps_its_distance_and_the_pivot_in_its_pixel(kind):
    track = poses(move(kind, 30.0))
    distance = np.linalg.norm(track[:, :3, 3] - PIVOT, axis=1)
    np.testing.assert_allclose(distance, distance[0])
    for pose in track:
        pixel, _ = geometry.project(PIVOT, K, geometry.invert_pose(pose))
        assert pixel == pytest.approx([48.0, 32.0])


def test_an_orbit_goes_to_the_right_level_and_by_its_amount():
    track = poses(move("orbit", 30.0))
    arms = track[:, :3, 3] - PIVOT
    assert arms[-1, 0] > arms[0, 0] and np.ptp(arms[:, 2]) < 1e-12
    angles = np.degrees(np.unwrap(np.arctan2(arms[:, 1], arms[:, 0])))
    np.testing.assert_allclose(angles - angles[0], np.linspace(0, 30, FRAMES))
    assert poses(move("orbit_up", 10.0))[-1, 2, 3] > PHOTO[2, 3]


def test_dolly_approaches_the_pivot_by_metres():
    track = poses(move("dolly", 0.5))
    distance = np.linalg.norm(track[:, :3, 3] - PIVOT, axis=1)
    np.testing.assert_allclose(distance[0] - distance, np.linspace(0, 0.5, FRAMES))
    np.testing.assert_allclose(track[:, :3, :3], np.broadcast_to(PHOTO[:3, :3], (9, 3, 3)))


def test_crane_and_truck_translate_and_pan_and_tilt_turn_in_place():
    assert poses(move("crane", 0.4))[-1, :3, 3] - PHOTO[:3, 3] == pytest.approx([0, 0, 0.4])
    assert poses(move("truck", 0.4))[-1, :3, 3] - PHOTO[:3, 3] == pytest.approx(0.4 * PHOTO[:3, 0])
    panned, tilted = poses(move("pan", 10.0))[-1], poses(move("tilt", 10.0))[-1]
    np.testing.assert_array_equal(panned[:3, 3], PHOTO[:3, 3])
    np.testing.assert_array_equal(tilted[:3, 3], PHOTO[:3, 3])
    right_of = geometry.project(PIVOT, K, geometry.invert_pose(panned))[0]
    below = geometry.project(PIVOT, K, geometry.invert_pose(tilted))[0]
    assert right_of[0] < 48.0 and right_of[1] == pytest.approx(32.0, abs=1.0)  # it looks to the right of it
    assert below == pytest.approx([48.0, 32.0 + FOCAL * math.tan(math.radians(10))])  # and above it
    assert np.abs(panned[2, 0]) < 1e-12  # no roll


def test_zoom_scales_the_focal_length_at_a_constant_rate():
    focal = [k.focal_px for k in camera_keys([move("zoom", 4.0)])]
    np.testing.assert_allclose(focal, FOCAL * 4.0 ** np.linspace(0, 1, FRAMES))


def test_moves_add_up_and_hold_after_their_end():
    np.testing.assert_allclose(poses(move("orbit", 5.0), move("orbit", 7.0)), poses(move("orbit", 12.0)))
    track = poses(move("crane", 0.3, 3, 5), move("crane", 0.1, 7, 9))[:, 2, 3] - PHOTO[2, 3]
    np.testing.assert_allclose(track, [0, 0, 0, 0.15, 0.3, 0.3, 0.3, 0.35, 0.4], atol=1e-12)


def test_an_orbit_and_its_opposite_cancel():
    np.testing.assert_allclose(poses(move("orbit", 9.0), move("orbit", -9.0)), poses(), atol=1e-15)


@pytest.mark.parametrize("interpolation", sorted(EASINGS))
def test_easings_go_from_zero_to_one_and_only_some_turn_back(interpolation):
    values = [EASINGS[interpolation](u) for u in np.linspace(0, 1, 50)]
    assert values[0] == pytest.approx(0.0) and values[-1] == pytest.approx(1.0)
    assert (np.diff(values) >= 0).all() == (interpolation not in ("BACK", "BOUNCE"))


def test_bezier_eases_in_and_out_and_constant_jumps_at_the_end():
    assert EASINGS["BEZIER"](0.5) == 0.5 and EASINGS["BEZIER"](0.1) < 0.1
    assert EASINGS["CONSTANT"](0.99) == 0.0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (move("orbit", 1.0, 1, 10), r"moves\[0\] \(orbit\) uses frame 10 but the shot has frames 1 to 9"),
        (move("orbit", 1.0, 5, 5), "must end after it starts"),
        (move("orbit", 1.0, 6, 2), "must end after it starts"),
        (move("zoom", -1.0), "positive factor"),
        (move("zoom", 0.0), "positive factor"),
        (move("dolly", 9.0), "only 2.09 m away"),
    ],
)
def test_impossible_moves_are_refused(bad, message):
    with pytest.raises(ConfigError, match=message):
        poses(bad)


def test_object_keys_are_passed_on_in_order():
    first, second = object_keys([key(1), key(9, rotation_deg=(0, 0, -12))], SHOT)
    assert (first.frame, second.frame) == (1, 9)
    assert second.rotation_deg == (0, 0, -12) and second.interpolation == "BEZIER"
    assert object_keys([], SHOT) == ()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([key(1), key(10)], r"keys\[1\] uses frame 10"),
        ([key(5), key(2)], r"keys\[1\] is at frame 2, after one at frame 5"),
        ([key(5), key(5)], "ascending frame"),
        ([key(1, scale=(1, 0, 1))], "positive"),
    ],
)
def test_impossible_keys_are_refused(keys, message):
    with pytest.raises(ConfigError, match=message):
        object_keys(keys, SHOT)


def test_numbers_that_are_not_finite_are_refused():
    """The typed configuration refuses them as well; this holds for moves and keys built in Python."""
    for bad in (math.nan, math.inf):
        broken_move, broken_key = move("orbit", 1.0), key(1)
        object.__setattr__(broken_move, "amount", bad)
        object.__setattr__(broken_key, "translation_m", (0.0, bad, 0.0))
        with pytest.raises(ConfigError, match="finite number"):
            poses(broken_move)
        with pytest.raises(ConfigError, match="not finite"):
            object_keys([broken_key], SHOT)
