"""The baselines: what each of them computes, where the answer is known, and which stages it needs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from i2v3d.artifacts.folders import frame_name
from i2v3d.config.interpolate import SDEditVideoConfig
from i2v3d.config.keyframes import SDEditImageConfig
from i2v3d.diffusion.ddim import DDIM
from i2v3d.diffusion.sdedit import add_noise, sample_from, steps_run
from i2v3d.errors import ArtifactError, ConfigError
from i2v3d.images import read_rgb, write_rgb
from i2v3d.models.layout import DDIM_SCHEDULER
from i2v3d.stages.context import StageContext
from i2v3d.stages.cross_fade import CrossFadeStage, cross_fade
from i2v3d.stages.sdedit_image import SDEditImageStage, refine_frames
from i2v3d.stages.sdedit_video import SDEditVideoStage, refine_clip
from i2v3d.toy.moving_disc import write_moving_disc
from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.plan import Plan, make_plan, upstream_dirs
from tests.support.image_family import write_lora, write_tiny_family
from tests.support.video_family import write_tiny_video_family

ROOT = Path(__file__).parents[2]
FRAMES, SEGMENT, STEPS, HEIGHT, WIDTH = 7, 4, 5, 32, 48
IMAGE = SDEditImageConfig(
    strength=0.6,
    steps=STEPS,
    guidance=2.0,
    prompt="a red cup",
    negative_prompt="blurry",
    control_scale=1.0,
    depth_range="shot",
    seed=5,
)
VIDEO = SDEditVideoConfig(
    strength=0.6,
    steps=STEPS,
    guidance=1.5,
    control_scale=1.0,
    depth_range="shot",
    fps=30,
    motion_bucket=127,
    noise_aug=0.02,
    seed=5,
)


def context(work: Path, max_batch: int = 0) -> StageContext:
    return StageContext(device="cpu", max_batch=max_batch, work=work)


def read_all(folder: Path) -> np.ndarray:
    assert sorted(p.name for p in folder.glob("*.png")) == [frame_name(n) for n in range(1, FRAMES + 1)]
    return np.stack([read_rgb(folder / frame_name(n)) for n in range(1, FRAMES + 1)])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("baselines")
    made = {name: root / name for name in ("scene", "render", "lora")}
    write_moving_disc(made["render"], FRAMES, HEIGHT, WIDTH)
    for name in ("scene", "lora"):
        made[name].mkdir()
    write_lora(made["lora"])
    write_rgb(made["scene"] / "photo.png", 255 - read_rgb(made["render"] / "rgb" / frame_name(1)))
    return made


# ---------------------------------------------------------------- SDEdit
@pytest.mark.parametrize(
    ("strength", "steps", "run"), [(0.4, 50, 20), (1.0, 50, 50), (0.01, 25, 1), (0.5, 5, 2)]
)
def test_strength_is_the_fraction_of_steps_that_are_run(strength: float, steps: int, run: int) -> None:
    assert steps_run(steps, strength) == run


@pytest.mark.parametrize("level", [1, 20, 50])
def test_sdedit_with_the_true_noise_gives_the_picture_back(level: int) -> None:
    ddim = DDIM.from_config(DDIM_SCHEDULER, 50)
    clean, noise = torch.randn(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noisy = add_noise(ddim, clean, noise, level)
    back = sample_from(ddim, noisy, lambda x, t, step: noise, level)
    torch.testing.assert_close(
        back, add_noise(ddim, clean, noise, 0)
    )  # the schedule ends just above no noise
    assert float((back - clean).abs().mean()) < 0.03


def test_sdedit_forgets_as_much_of_gaussian_data_as_its_noise_covers() -> None:
    """Data N(0, s^2): the ideal denoiser's flow keeps the law, and keeps a picture as far as strength is small."""
    ddim, s = DDIM.from_config(DDIM_SCHEDULER, 400), 0.7
    level_of = {t: level for level, t in enumerate(ddim.timesteps, start=1)}

    def ideal(x: torch.Tensor, timestep: int, step: int) -> torch.Tensor:
        alpha_bar = ddim.alpha_bar[level_of[timestep]]
        return (1 - alpha_bar) ** 0.5 / (alpha_bar * s * s + 1 - alpha_bar) * x

    clean, noise = torch.randn(2, 20000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    clean *= s
    for strength in (0.2, 0.6, 1.0):
        level = steps_run(400, strength)
        alpha_bar = ddim.alpha_bar[level]
        refined = sample_from(ddim, add_noise(ddim, clean, noise, level), ideal, level)
        kept = float((refined * clean).mean() / (refined.std() * clean.std()))
        expected = (alpha_bar * s * s / (alpha_bar * s * s + 1 - alpha_bar)) ** 0.5
        assert abs(float(refined.std()) / s - 1) < 0.03
        assert abs(kept - expected) < 0.02


# ---------------------------------------------------------------- frame by frame, with the image model
@pytest.fixture(scope="module")
def image_stage(tmp_path_factory: pytest.TempPathFactory) -> SDEditImageStage:
    return SDEditImageStage(write_tiny_family(tmp_path_factory.mktemp("image family")), IMAGE)


def refine_images(
    stage: SDEditImageStage, inputs: dict[str, Path], out: Path, max_batch: int = 0, **changes: object
) -> np.ndarray:
    out.mkdir()
    changed = dataclasses.replace(stage, sdedit=dataclasses.replace(stage.sdedit, **changes))
    refine_frames(changed, inputs, out, context(out, max_batch))
    return read_all(out)


@pytest.fixture(scope="module")
def images(
    image_stage: SDEditImageStage, inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> np.ndarray:
    return refine_images(image_stage, inputs, tmp_path_factory.mktemp("images") / "out")


@pytest.mark.slow
def test_refined_images_do_not_depend_on_the_batch_size(
    image_stage: SDEditImageStage, inputs: dict[str, Path], images: np.ndarray, tmp_path: Path
) -> None:
    chunked = refine_images(image_stage, inputs, tmp_path / "out", max_batch=3)
    assert np.abs(chunked.astype(int) - images).max() <= 1


@pytest.mark.parametrize(
    "changes",
    [
        {"strength": 0.2},
        {"guidance": 4.0},
        {"prompt": "a cat"},
        {"negative_prompt": "sharp"},
        {"control_scale": 0.0},
        {"depth_range": "frame"},
        {"seed": 6},
    ],
    ids=str,
)
@pytest.mark.slow
def test_every_option_changes_the_refined_images(
    image_stage: SDEditImageStage,
    inputs: dict[str, Path],
    images: np.ndarray,
    tmp_path: Path,
    changes: dict[str, object],
) -> None:
    assert not np.array_equal(refine_images(image_stage, inputs, tmp_path / "out", **changes), images)


@pytest.mark.slow
def test_a_refined_image_sees_no_other_frame(
    image_stage: SDEditImageStage, inputs: dict[str, Path], images: np.ndarray, tmp_path: Path
) -> None:
    render = tmp_path / "render"
    write_moving_disc(render, FRAMES, HEIGHT, WIDTH)
    write_rgb(render / "rgb" / frame_name(3), 255 - read_rgb(render / "rgb" / frame_name(3)))
    changed = refine_images(image_stage, {**inputs, "render": render}, tmp_path / "out")
    differs = np.abs(changed.astype(int) - images).reshape(FRAMES, -1).max(axis=1) > 1
    assert differs.tolist() == [number == 3 for number in range(1, FRAMES + 1)]


# ---------------------------------------------------------------- the clip, with the video model
@pytest.fixture(scope="module")
def video_stage(tmp_path_factory: pytest.TempPathFactory) -> SDEditVideoStage:
    return SDEditVideoStage(write_tiny_video_family(tmp_path_factory.mktemp("video family")), VIDEO, SEGMENT)


def refine_video(
    stage: SDEditVideoStage, inputs: dict[str, Path], out: Path, max_batch: int = 0, **changes: object
) -> np.ndarray:
    out.mkdir()
    changed = dataclasses.replace(stage, sdedit=dataclasses.replace(stage.sdedit, **changes))
    refine_clip(changed, inputs, out, context(out, max_batch))
    return read_all(out)


@pytest.fixture(scope="module")
def clip(
    video_stage: SDEditVideoStage, inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> np.ndarray:
    return refine_video(video_stage, inputs, tmp_path_factory.mktemp("clip") / "out")


@pytest.mark.slow
def test_the_refined_clip_does_not_depend_on_the_batch_size(
    video_stage: SDEditVideoStage, inputs: dict[str, Path], clip: np.ndarray, tmp_path: Path
) -> None:
    chunked = refine_video(video_stage, inputs, tmp_path / "out", max_batch=1)
    assert np.abs(chunked.astype(int) - clip).max() <= 1


@pytest.mark.parametrize(
    "changes",
    [
        {"strength": 0.2},
        {"guidance": 4.0},
        {"control_scale": 0.0},
        {"depth_range": "frame"},
        {"motion_bucket": 10},
        {"noise_aug": 0.5},
        {"seed": 6},
    ],
    ids=str,
)
@pytest.mark.slow
def test_every_option_changes_the_refined_clip(
    video_stage: SDEditVideoStage,
    inputs: dict[str, Path],
    clip: np.ndarray,
    tmp_path: Path,
    changes: dict[str, object],
) -> None:
    assert not np.array_equal(refine_video(video_stage, inputs, tmp_path / "out", **changes), clip)


@pytest.mark.slow
def test_the_photo_reaches_the_last_segment_of_the_refined_clip(
    video_stage: SDEditVideoStage, inputs: dict[str, Path], clip: np.ndarray, tmp_path: Path
) -> None:
    scene = tmp_path / "scene"
    scene.mkdir()
    write_rgb(scene / "photo.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    changed = refine_video(video_stage, {**inputs, "scene": scene}, tmp_path / "out")
    assert (np.abs(changed.astype(int) - clip).reshape(FRAMES, -1).max(axis=1) > 1).all()


# ---------------------------------------------------------------- cross-fade
def test_a_cross_fade_blends_the_two_keyframes_around_a_frame(tmp_path: Path) -> None:
    keyframes, out = tmp_path / "keyframes", tmp_path / "out"
    for folder in (keyframes, out):
        folder.mkdir()
    for number, grey in ((1, 10), (4, 40), (7, 250)):
        write_rgb(keyframes / frame_name(number), np.full((8, 8, 3), grey, np.uint8))
    cross_fade(CrossFadeStage(segment_frames=SEGMENT), {"keyframes": keyframes}, out, context(tmp_path))
    assert read_all(out).reshape(FRAMES, -1).T.tolist() == [[10, 20, 30, 40, 110, 180, 250]] * 192


def test_a_cross_fade_of_other_segments_is_refused(tmp_path: Path) -> None:
    for number in (1, 5):
        write_rgb(tmp_path / frame_name(number), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(
        ArtifactError, match=r"holds frames \[1, 5\], which are not keyframes of segments of 3"
    ):
        cross_fade(CrossFadeStage(segment_frames=3), {"keyframes": tmp_path}, tmp_path, context(tmp_path))


# ---------------------------------------------------------------- the graph
@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        prints = Fingerprints(tmp_path_factory.mktemp("plan") / "memo.json")
        return make_plan(compose_variants(ROOT / "conf", [], sweep="baselines"), prints)


COARSE = {"scene", "render"}
KEYFRAMES = COARSE | {"views", "lora", "keyframe_inversion", "keyframes"}
INTERPOLATED = {"interpolation_inversion", "interpolate"}


@pytest.mark.parametrize(
    ("variant", "stages"),
    [
        ("base", KEYFRAMES | INTERPOLATED),
        ("coarse", COARSE),
        ("lit", COARSE),
        ("cross_fade", KEYFRAMES | {"cross_fade"}),
        ("forward_only", KEYFRAMES | INTERPOLATED),
        ("single_stage", COARSE | INTERPOLATED),
        ("sdedit_image_0.4", COARSE | {"views", "lora", "sdedit_image"}),
        ("sdedit_video_0.4", COARSE | {"sdedit_video"}),
    ],
)
def test_a_baseline_runs_the_stages_that_it_needs_and_no_others(
    plan: Plan, variant: str, stages: set[str]
) -> None:
    (found,) = (v for v in plan.variants if v.name == variant)
    assert set(found.keys) == stages | {"assemble", "evaluate"}


def test_the_baselines_share_what_they_have_in_common(plan: Plan) -> None:
    own = {"base": 12, "coarse": 2, "lit": 2, "cross_fade": 3, "forward_only": 4, "single_stage": 4}
    sdedit = 2 * (3 + 3)
    assert plan.jobs() == sum(own.values()) + sdedit
    assert plan.jobs_unshared() == 12 + 4 + 4 + 9 + 12 + 8 + 2 * 7 + 2 * 5


def test_a_single_stage_goes_from_segment_to_segment(plan: Plan) -> None:
    by_name = {v.name: v for v in plan.variants}
    nodes = {(node.stage, node.key): node for node in plan.nodes}

    def read(variant: str, segment: int) -> list[str]:
        node = nodes["interpolate", by_name[variant].keys["interpolate"]]
        return ["/".join(f.parts[:1] + f.parts[2:]) for f in upstream_dirs(Path(), node, segment)]

    inverted = "interpolation_inversion/segment_00"
    assert read("forward_only", 1) == ["render", "keyframes", f"{inverted}1"]
    assert read("base", 0) == ["render", "keyframes", f"{inverted}0"]
    assert read("base", 1) == ["render", "keyframes", f"{inverted}1", "interpolate/segment_000"]
    assert read("single_stage", 0) == ["scene", "render", f"{inverted}0"]
    assert read("single_stage", 1) == ["scene", "render", f"{inverted}1", "interpolate/segment_000"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("interpolate.conditioning=photo", "set interpolate.direction=forward"),
        ("interpolate.fusion.data_consistency=true", "interpolate.fusion.replace_ends=true"),
        ("interpolate.fusion.method=sequential interpolate.fusion.weights=cosine", "leave it at linear"),
        ("interpolate.direction=forward interpolate.fusion.renoise=1", "set interpolate.direction=both"),
        ("assemble.frames=keyframes", 'assemble.frames is "keyframes"'),
        ("sdedit_image.strength=0", "sdedit_image.strength is 0"),
        ("sdedit_video.strength=1.1", "sdedit_video.strength is 1.1"),
    ],
)
def test_contradictions_and_unknown_values_are_refused(word: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        make_plan(compose_variants(ROOT / "conf", word.split()), Fingerprints(tmp_path / "memo.json"))
    assert message in str(refused.value)
