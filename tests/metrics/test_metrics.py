"""Scores on cases whose answer is known, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from i2v3d.errors import ShapeError
from i2v3d.geometry import correspondence
from i2v3d.geometry.cameras import (
    intrinsics,
    invert_pose,
    look_at,
    pixel_centres,
    project,
    rotation_about,
    transform,
)
from i2v3d.metrics import camera, control, fidelity, identity, temporal
from i2v3d.metrics.intervals import mean_interval

HEIGHT, WIDTH = 96, 128


def noise_pictures(frames: int = 3, seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(frames, 3, height, width, generator=generator) * 0.5 + 0.25


def smooth_pictures(frames: int = 1, seed: int = 0) -> Tensor:
    """Pictures without fine detail, which survive being resampled."""
    small = noise_pictures(frames, seed, HEIGHT // 8, WIDTH // 8)
    return torch.nn.functional.interpolate(small, (HEIGHT, WIDTH), mode="bicubic").clamp(0, 1)


def mask(frames: int = 3) -> Tensor:
    inside = torch.zeros(frames, HEIGHT, WIDTH, dtype=torch.bool)
    inside[:, 20:60, 30:90] = True
    return inside


# ---------------------------------------------------------------- against the truth
def test_psnr_of_a_constant_error_is_its_formula() -> None:
    truth = noise_pictures()
    assert torch.allclose(fidelity.psnr(truth + 0.1, truth), torch.tensor(20.0), atol=1e-3)
    assert torch.equal(fidelity.psnr(truth, truth), torch.full((3,), fidelity.PSNR_CAP_DB))


def test_psnr_inside_counts_the_mask_alone() -> None:
    truth, inside = noise_pictures(), mask()
    wrong_outside = torch.where(inside[:, None], truth, 1 - truth)
    assert torch.equal(fidelity.psnr_inside(wrong_outside, truth, inside), torch.full((3,), 100.0))
    wrong_inside = torch.where(inside[:, None], truth + 0.01, truth)
    assert torch.allclose(fidelity.psnr_inside(wrong_inside, truth, inside), torch.tensor(40.0), atol=1e-2)
    inside[1] = False
    assert fidelity.psnr_inside(truth, truth, inside).isnan().tolist() == [False, True, False]


def test_blur_cannot_win_sharpness_and_noise_does_not_pass_for_it() -> None:
    truth, inside = noise_pictures(), mask()
    assert torch.equal(fidelity.sharpness(truth, truth, inside), torch.ones(3))
    one, two = (torch.from_numpy(gaussian_filter(truth, (0, 0, width, width))) for width in (0.6, 1.5))
    assert (fidelity.sharpness(one, truth, inside) < 0.8).all()
    assert (fidelity.sharpness(two, truth, inside) < fidelity.sharpness(one, truth, inside)).all()
    # Half the contrast has half the detail; what lies outside the mask does not count.
    assert torch.allclose(fidelity.sharpness(truth / 2, truth, inside), torch.full((3,), 0.5), atol=1e-4)
    far = truth.clone()
    far[..., 70:, :] = 0
    assert torch.equal(fidelity.sharpness(far, truth, inside), torch.ones(3))
    inside[1] = False
    assert fidelity.sharpness(truth, truth, inside).isnan().tolist() == [False, True, False]
    flat = torch.full_like(truth, 0.5)
    assert fidelity.sharpness(truth, flat, inside).isnan().all()


def test_ssim_is_one_for_equals_and_lower_for_noise_than_for_a_shift_of_brightness() -> None:
    truth = smooth_pictures(2)
    assert torch.allclose(fidelity.ssim(truth, truth), torch.ones(2), atol=1e-5)
    noisy = (truth + 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    brighter = (truth + 0.1).clamp(0, 1)
    assert (fidelity.ssim(noisy, truth) < fidelity.ssim(brighter, truth)).all()


def test_ssim_agrees_with_its_formula_on_flat_pictures() -> None:
    one, two = torch.full((1, 3, 32, 32), 0.4), torch.full((1, 3, 32, 32), 0.6)
    expected = (2 * 0.4 * 0.6 + 0.01**2) / (0.4**2 + 0.6**2 + 0.01**2)
    assert float(fidelity.ssim(one, two)) == pytest.approx(expected, abs=1e-3)


def test_ms_ssim_needs_large_pictures() -> None:
    large = noise_pictures(1, 0, 176, 192)
    assert float(fidelity.ms_ssim(large, large)) == pytest.approx(1, abs=1e-5)
    assert float(fidelity.ms_ssim(large, 1 - large)) < 0.5
    with pytest.raises(ShapeError, match="161 pixels"):
        fidelity.ms_ssim(noise_pictures(), noise_pictures())


# ---------------------------------------------------------------- control
def test_depth_error_ignores_a_factor_and_knows_the_deviation() -> None:
    rendered = torch.full((2, HEIGHT, WIDTH), 4.0)
    everywhere = torch.ones(2, HEIGHT, WIDTH, dtype=torch.bool)
    assert torch.allclose(
        control.depth_si_rmse(3 * rendered, rendered, everywhere), torch.zeros(2), atol=1e-6
    )
    half = rendered.clone()
    half[:, : HEIGHT // 2] *= math.exp(0.2)  # half the pixels off by 0.2: deviation 0.1
    assert torch.allclose(control.depth_si_rmse(half, rendered, everywhere), torch.tensor(0.1), atol=1e-5)
    sky = rendered.clone()
    sky[:, : HEIGHT // 2] = math.inf
    assert torch.allclose(control.depth_si_rmse(half, sky, everywhere), torch.zeros(2), atol=1e-6)
    assert control.depth_si_rmse(half, rendered, ~everywhere).isnan().all()


def test_mask_iou_of_halves() -> None:
    one = torch.zeros(2, 8, 8, dtype=torch.bool)
    two = one.clone()
    one[0, :4], two[0, 2:6] = True, True  # 2 rows of 6 in common
    assert control.mask_iou(one, two).tolist() == pytest.approx([1 / 3, 1.0])


def shifted(pictures: Tensor, pixels: int) -> Tensor:
    return torch.cat([pictures.roll(pixels * t, dims=-1) for t in range(3)])


def test_warping_error_is_zero_for_pure_motion_and_the_square_of_a_change() -> None:
    moving = shifted(smooth_pictures(), 4)
    flow = torch.zeros(2, HEIGHT, WIDTH, 2)
    flow[..., 0] = 4
    valid = torch.ones(2, HEIGHT, WIDTH, dtype=torch.bool)
    valid[..., -8:] = False  # leaves the frame
    assert torch.allclose(control.warping_error(moving, flow, valid), torch.zeros(2), atol=1e-8)
    assert (control.warping_error(moving, torch.zeros_like(flow), valid) > 1e-3).all()
    brighter = moving.clone() * 0.8
    brighter[1] += 0.1
    assert torch.allclose(control.warping_error(brighter, flow, valid), torch.tensor(0.01), atol=1e-5)
    assert torch.allclose(control.flicker(brighter, flow, valid), torch.tensor(0.1), atol=1e-5)


def test_flicker_does_not_see_texture_that_changes() -> None:
    boiling = noise_pictures(3)
    flow, valid = torch.zeros(2, HEIGHT, WIDTH, 2), torch.ones(2, HEIGHT, WIDTH, dtype=torch.bool)
    assert (control.flicker(boiling, flow, valid) < 0.01).all()
    assert (control.warping_error(boiling, flow, valid) > 0.02).all()


# ---------------------------------------------------------------- correspondence
def still_cameras(frames: int) -> tuple[np.ndarray, np.ndarray]:
    lenses = np.stack([intrinsics(100, WIDTH / 2, HEIGHT / 2)] * frames)
    return lenses, np.stack([np.eye(4)] * frames)


def test_what_a_moving_object_covers_is_occluded() -> None:
    depth = torch.full((2, HEIGHT, WIDTH), 5.0)
    foreground = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.bool)
    foreground[0, 40:60, 40:60], foreground[1, 40:60, 50:70] = True, True
    depth[foreground] = 2.0
    flow = torch.zeros(1, HEIGHT, WIDTH, 2)
    flow[0, foreground[0], 0] = 10.0
    seen = correspondence.unoccluded(flow, depth, foreground, *still_cameras(2))[0]
    assert not seen[45:55, 61:69].any(), "background that the object moves over"
    assert seen[45:55, 41:58].all(), "the object itself"
    assert seen[5:35, 5:-5].all(), "background elsewhere"


def test_a_point_that_leaves_the_frame_does_not_count() -> None:
    depth, foreground = torch.full((2, HEIGHT, WIDTH), 5.0), torch.zeros(2, HEIGHT, WIDTH, dtype=torch.bool)
    flow = torch.zeros(1, HEIGHT, WIDTH, 2)
    flow[..., 0] = 20.0
    seen = correspondence.unoccluded(flow, depth, foreground, *still_cameras(2))[0]
    assert not seen[:, -20:].any() and seen[:-1, :-21].all()


def test_the_sky_is_seen_where_the_next_frame_has_sky() -> None:
    depth, foreground = torch.full((2, HEIGHT, WIDTH), 5.0), torch.zeros(2, HEIGHT, WIDTH, dtype=torch.bool)
    depth[0, :30], depth[1, :20] = math.inf, math.inf
    seen = correspondence.unoccluded(torch.zeros(1, HEIGHT, WIDTH, 2), depth, foreground, *still_cameras(2))[
        0
    ]
    assert seen[:18, :-1].all() and seen[31:-1, :-1].all()
    assert not seen[20:30].any(), "a wall came up before it"


def test_nothing_hides_in_a_still_shot_of_ground_up_to_the_horizon() -> None:
    """The ground's depth grows without bound from row to row, and the object's outline stays where it is."""
    rows = torch.arange(HEIGHT) + 0.5 - HEIGHT / 3
    ground = torch.where(rows > 0, 100.0 / rows.clamp(min=1e-6), math.inf)
    depth = ground[None, :, None].expand(2, -1, WIDTH).clone()
    foreground = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.bool)
    foreground[:, 40:60, 40:60] = True
    depth[foreground] = 2.0
    seen = correspondence.unoccluded(torch.zeros(1, HEIGHT, WIDTH, 2), depth, foreground, *still_cameras(2))[
        0
    ]
    assert seen.all()


def test_the_sky_turns_with_the_camera_and_does_not_come_closer() -> None:
    """Renderers write no flow where they hit nothing: it is that of points infinitely far away."""
    lenses, poses = still_cameras(2)
    turn = rotation_about((0, 0, 0), (0, 1, 0), 3.0)
    poses[1] = turn @ poses[1]
    poses[1, 2, 3] += 2.0
    depth = torch.full((2, HEIGHT, WIDTH), math.inf)
    motion = correspondence.rendered_motion(
        torch.zeros(1, HEIGHT, WIDTH, 2), depth, mask(2) & False, lenses, poses
    )
    far = 1e7 * np.array([0.1, -0.05, 1.0])
    (here, _), (there, _) = (project(far, lens, pose) for lens, pose in zip(lenses, poses, strict=True))
    x, y = here.astype(int)
    np.testing.assert_allclose(motion.flow_px[0, y, x].numpy(), there - here, atol=0.05)
    assert abs(float(motion.flow_px[0, y, x, 0])) > 1.0
    reached = np.arange(WIDTH) + motion.flow_px[0, HEIGHT // 2, :, 0].numpy()
    inside = (reached > 1) & (reached < WIDTH - 2)
    assert motion.seen[0, HEIGHT // 2, torch.from_numpy(inside)].all()


def test_sky_behind_the_next_camera_is_not_seen() -> None:
    lenses, poses = still_cameras(2)
    poses[1] = rotation_about((0, 0, 0), (0, 1, 0), 180.0) @ poses[1]
    depth = torch.full((2, HEIGHT, WIDTH), math.inf)
    motion = correspondence.rendered_motion(
        torch.zeros(1, HEIGHT, WIDTH, 2), depth, mask(2) & False, lenses, poses
    )
    assert bool(motion.flow_px.isfinite().all()) and not motion.seen.any()


def test_depth_that_the_camera_changes_is_no_occlusion() -> None:
    lenses, poses = still_cameras(2)
    poses[1, 2, 3] = -1.0  # one metre forward: the wall at 5 m is 4 m away
    depth = torch.full((2, HEIGHT, WIDTH), 5.0)
    depth[1] = 4.0
    flow = torch.from_numpy((pixel_centres(WIDTH, HEIGHT) - [WIDTH / 2, HEIGHT / 2]) * 0.25).float()[None]
    seen = correspondence.unoccluded(flow, depth, mask(2) & False, lenses, poses)[0]
    assert seen[HEIGHT // 4 : -HEIGHT // 4, WIDTH // 4 : -WIDTH // 4].all()
    closer = correspondence.unoccluded(flow, depth.clamp(max=3.0), mask(2) & False, lenses, poses)[0]
    assert not closer.any()


# ---------------------------------------------------------------- camera
@pytest.fixture(scope="module")
def orbit() -> tuple[Tensor, Tensor, np.ndarray, np.ndarray]:
    """Frames of a camera that turns about a textured ground and wall; depth of the first frame, cameras."""
    rng = np.random.default_rng(3)
    texture = cv2.resize(
        rng.uniform(0, 1, (64, 64)).astype(np.float32), (512, 512), interpolation=cv2.INTER_CUBIC
    )
    lens, first = intrinsics(150, 96, 64), look_at((0, -4, 1.5), (0, 0, 0.5))
    frames, depths, poses = [], [], []
    for angle in (0.0, 2.0, 4.0, 6.0):
        world = rotation_about((0, 0, 0), (0, 0, 1), angle) @ first
        pixels = np.concatenate([pixel_centres(192, 128), np.ones((128, 192, 1))], axis=-1)
        rays = pixels @ np.linalg.inv(lens).T @ world[:3, :3].T
        with np.errstate(divide="ignore"):
            ground = np.where(rays[..., 2] < 0, -world[2, 3] / rays[..., 2], np.inf)
        wall = (3.0 - world[1, 3]) / rays[..., 1]
        depth = np.minimum(ground, np.where(wall > 0, wall, np.inf))
        points = world[:3, 3] + rays * depth[..., None]
        on_wall = wall < ground
        u, v = points[..., 0], np.where(on_wall, points[..., 2] + 7, points[..., 1])
        spots = [((value * 40 + 2000) % 512).astype(np.float32) for value in (u, v)]
        frames.append(cv2.remap(texture, *spots, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP).clip(0, 1))
        depths.append(depth)
        poses.append(invert_pose(world))
    pictures = torch.from_numpy(np.stack(frames)).float()[:, None].expand(-1, 3, -1, -1).contiguous()
    return pictures, torch.from_numpy(depths[0]).float(), np.stack([lens] * 4), np.stack(poses)


def test_the_camera_of_a_true_video_is_found(orbit: tuple[Tensor, Tensor, np.ndarray, np.ndarray]) -> None:
    pictures, depth, lenses, poses = orbit
    nothing = torch.zeros(depth.shape, dtype=torch.bool)
    found = camera.camera_errors(pictures, depth, nothing, lenses, poses)
    assert np.isnan(found.rotation_deg[0]) and np.isfinite(found.rotation_deg[1:]).all()
    assert found.rotation_deg[1:].max() < 0.3 and found.position_m[1:].max() < 0.05


def test_a_video_that_does_not_move_has_the_cameras_own_motion_as_error(
    orbit: tuple[Tensor, Tensor, np.ndarray, np.ndarray],
) -> None:
    pictures, depth, lenses, poses = orbit
    nothing = torch.zeros(depth.shape, dtype=torch.bool)
    still = pictures[:1].expand(4, -1, -1, -1).contiguous()
    found = camera.camera_errors(still, depth, nothing, lenses, poses)
    assert found.rotation_deg[1:] == pytest.approx([2, 4, 6], abs=0.3)
    travelled = np.linalg.norm(
        transform(invert_pose(poses[3]), np.zeros(3)) - transform(invert_pose(poses[0]), np.zeros(3))
    )
    assert found.position_m[3] == pytest.approx(travelled, rel=0.1)


def test_a_camera_without_points_to_follow_has_no_error(
    orbit: tuple[Tensor, Tensor, np.ndarray, np.ndarray],
) -> None:
    pictures, depth, lenses, poses = orbit
    flat = torch.full_like(pictures, 0.5)
    found = camera.camera_errors(flat, depth, torch.zeros(depth.shape, dtype=torch.bool), lenses, poses)
    assert np.isnan(found.rotation_deg).all() and np.isnan(found.position_m).all()


# ---------------------------------------------------------------- time
def test_a_still_does_not_flicker_and_steps_are_mean_differences() -> None:
    still = noise_pictures(1).expand(4, -1, -1, -1)
    assert temporal.temporal_flickering(still) == 1
    brighter = torch.cat([still[:2], still[2:] + 0.06])
    assert temporal.frame_steps(brighter).tolist() == pytest.approx([0, 0.06, 0], abs=1e-6)
    assert temporal.temporal_flickering(brighter) == pytest.approx(0.98, abs=1e-6)


def test_seam_jump_is_a_multiple_of_the_usual_step() -> None:
    steps = torch.tensor([0.01, 0.02, 0.05, 0.02, 0.03])
    assert temporal.seam_jump(steps, [2]) == pytest.approx(2.5)
    assert temporal.seam_jump(steps, [1, 2]) == pytest.approx(2.5)
    assert temporal.seam_jump(steps, []) is None
    assert temporal.seam_jump(torch.zeros(4), [1]) == 0
    with pytest.raises(ShapeError, match="seams"):
        temporal.seam_jump(steps, [5])


def test_colour_drift_counts_what_the_reference_does_not_do() -> None:
    reference = torch.stack([torch.full((3, 32, 32), level) for level in (0.4, 0.5, 0.6)])
    assert torch.allclose(temporal.colour_drift(reference, reference), torch.zeros(3).double())
    reddish = reference.clone()
    reddish[2, 0] += 0.1
    drift = temporal.colour_drift(reddish, reference)
    assert drift[:2].tolist() == pytest.approx([0, 0], abs=1e-6) and drift[2] > 2.3


# ---------------------------------------------------------------- identity
def test_similarity_is_the_cosine() -> None:
    turned = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    assert identity.similarity(turned, torch.tensor([[3.0, 0.0]])).tolist() == pytest.approx([1, 0.5**0.5, 0])
    assert identity.subject_consistency(turned[:2]) == pytest.approx(0.5**0.5)
    expected = 0.4 * 1 + 0.3 * 0.5**0.5 + 0.3 * 0.5**0.5
    assert identity.i2v_subject(turned, turned[:1]) == pytest.approx(expected)


def test_top1_needs_the_own_object_to_be_the_nearest() -> None:
    gallery = torch.eye(3)
    embeddings = torch.tensor([[0.9, 0.1, 0.0], [0.8, 0.5, 0.0], [0.0, 0.0, 2.0]])
    assert identity.top1(embeddings, gallery).tolist() == [True, False, True]


# ---------------------------------------------------------------- intervals
def test_bootstrap_interval_of_a_normal_sample_is_about_two_standard_errors() -> None:
    values = np.random.default_rng(0).normal(3, 1, 100)
    found = mean_interval(values.tolist(), confidence=0.95, resamples=4000, seed=0)
    error = values.std(ddof=1) / 10
    assert found.mean == pytest.approx(values.mean()) and found.n == 100
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)
    assert found == mean_interval(values.tolist(), confidence=0.95, resamples=4000, seed=0)


def test_intervals_of_one_value_and_of_equal_ones() -> None:
    assert math.isnan(mean_interval([2.0], confidence=0.95, resamples=100, seed=0).low)
    assert mean_interval([2.0, 2.0], confidence=0.95, resamples=100, seed=0)[:3] == (2.0, 2.0, 2.0)
    with pytest.raises(ShapeError, match="finite"):
        mean_interval([1.0, math.nan], confidence=0.95, resamples=100, seed=0)


# ---------------------------------------------------------------- refusals
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "another length": (lambda: fidelity.psnr(noise_pictures(2), noise_pictures(3)), "2 frames"),
    "another size": (lambda: fidelity.ssim(noise_pictures(1), noise_pictures(1, 0, 64, 64)), "64x64"),
    "8-bit range": (lambda: fidelity.psnr(noise_pictures() * 255, noise_pictures()), "divide 8-bit"),
    "signed range": (
        lambda: fidelity.psnr(noise_pictures() * 2 - 1, noise_pictures()),
        "expected \\[0, 1\\]",
    ),
    "NaN": (lambda: fidelity.psnr(noise_pictures() * math.nan, noise_pictures()), "NaN"),
    "bytes": (lambda: fidelity.psnr(noise_pictures().byte(), noise_pictures().byte()), "floats"),
    "mask of another size": (
        lambda: fidelity.psnr_inside(noise_pictures(), noise_pictures(), mask(2)),
        "frames",
    ),
    "mask of floats": (lambda: control.mask_iou(mask().float(), mask().float()), "bool"),
    "masks of two lengths": (lambda: control.mask_iou(mask(2), mask(3)), "compare equal"),
    "depth of zero": (
        lambda: control.depth_si_rmse(torch.zeros(3, HEIGHT, WIDTH), torch.ones(3, HEIGHT, WIDTH), mask()),
        "not positive",
    ),
    "flow of another length": (
        lambda: control.warping_error(noise_pictures(), torch.zeros(3, HEIGHT, WIDTH, 2), mask(2)),
        "flow_px",
    ),
    "flow with NaN": (
        lambda: control.warping_error(noise_pictures(), torch.full((2, HEIGHT, WIDTH, 2), math.nan), mask(2)),
        "write 0",
    ),
    "one frame": (lambda: temporal.frame_steps(noise_pictures(1)), "at least 2"),
    "a vector of zeros": (lambda: identity.similarity(torch.zeros(2, 3), torch.ones(1, 3)), "no direction"),
    "two widths": (lambda: identity.similarity(torch.ones(2, 3), torch.ones(1, 4)), "one D"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_is_refused(case: str) -> None:
    call, message = REFUSED[case]
    with pytest.raises(ShapeError, match=message):
        call()
