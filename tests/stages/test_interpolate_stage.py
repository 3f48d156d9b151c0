"""Contracts of the two stages of a segment on a tiny random family: what changes a result, what must not."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from i2v3d.artifacts.folders import frame_name
from i2v3d.artifacts.latents import InvertedClip
from i2v3d.artifacts.pictures import read_signed_picture
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.config.interpolate import FusionConfig, InterpolateConfig, InterpolationInversionConfig
from i2v3d.config.models import VideoLayers, VideoModelConfig
from i2v3d.errors import ArtifactError, ConfigError, LayerError, ShapeError
from i2v3d.images import read_rgb, write_mask, write_rgb
from i2v3d.models.memory import TIERS, Tier
from i2v3d.models.svd import decode_frames, encode_frames, load_video_models
from i2v3d.stages.context import StageContext
from i2v3d.stages.interpolate import InterpolateStage, interpolate_segment
from i2v3d.stages.interpolation_inversion import InterpolationInversionStage, invert_segment
from i2v3d.toy.moving_disc import write_moving_disc
from tests.support.networks import loaded_once
from tests.support.video_family import CHANNELS, FACTOR, write_tiny_video_family

FRAMES, SEGMENT, STEPS, HEIGHT, WIDTH = 7, 4, 3, 16, 24
NUMBERS = [4, 5, 6, 7]  # of the second segment
FUSION = FusionConfig(
    method="blend",
    weights="linear",
    power=2.0,
    cfg_plus_plus=False,
    data_consistency=False,
    renoise=0,
    renoise_until=0.8,
    distill_until=0.0,
    replace_ends=False,
)
SAMPLING = InterpolateConfig(
    segment_frames=SEGMENT,
    steps=STEPS,
    solver="euler",
    guidance=1.5,
    unconditional_every=1,
    control_scale=1.0,
    depth_range="shot",
    fps=30,
    motion_bucket=127,
    noise_aug=0.02,
    conditioning="keyframes",
    direction="both",
    interp_strength=1.0,
    fusion=FUSION,
    anchor="none",
    drift_foreground=0.0,
    drift_background=0.0,
    render_detail=0.0,
    render_light="flat",
    injection=True,
    tau_attention=1.0,
    tau_block=1.0,
    compat_unflipped_masks=False,
    compat_scaled_source=False,
    segment_seeds=None,
    seed=5,
)
INVERSION = InterpolationInversionConfig(
    light="flat",
    deferred=False,
    steps=STEPS,
    solver="euler",
    control_scale=1.0,
    depth_range="shot",
    fps=30,
    motion_bucket=127,
    noise_aug=0.02,
    compat_unflipped_depth=False,
    seed=5,
)


@dataclasses.dataclass(frozen=True)
class World:
    """Everything the two stages read, and the finished inversion of the second segment."""

    models: VideoModelConfig
    inputs: dict[str, Path]

    def invert(self, out: Path, max_batch: int = 0, segment: int = 1, **changes: object) -> InvertedClip:
        """The inversion of INVERSION with some values changed."""
        out.mkdir()
        inversion = dataclasses.replace(INVERSION, **changes)
        stage = InterpolationInversionStage(self.models, inversion, SEGMENT, segment)
        invert_segment(stage, self.inputs, out, context(out, max_batch))
        return InvertedClip.load(out, "cpu")

    def interpolate(self, out: Path, max_batch: int = 0, **changes: object) -> np.ndarray:
        """The frames (F, H, W, 3) of SAMPLING with some values changed."""
        out.mkdir()
        stage = InterpolateStage(self.models, dataclasses.replace(SAMPLING, **changes), 1)
        interpolate_segment(stage, self.inputs, out, context(out, max_batch))
        return read_all(out)


def context(work: Path, max_batch: int = 0) -> StageContext:
    return StageContext(device="cpu", max_batch=max_batch, work=work)


def lean(work: Path, memory: Tier) -> StageContext:
    """Fast networks in a tier of memory, with as few pictures a call as there are in a clip."""
    return StageContext(device="cpu", max_batch=len(NUMBERS), work=work, fast=True, memory=memory)


def read_all(folder: Path) -> np.ndarray:
    return np.stack([read_rgb(folder / frame_name(n)) for n in NUMBERS])


def largest_difference(first: np.ndarray, second: np.ndarray) -> int:
    return int(np.abs(first.astype(int) - second).max())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("interpolate")
    made = World(
        write_tiny_video_family(root),
        {name: root / name for name in ("render", "keyframes", "interpolation_inversion")},
    )
    write_moving_disc(made.inputs["render"], FRAMES, HEIGHT, WIDTH)
    for number in range(1, FRAMES + 1):  # what is visible shrinks as time goes on
        seen = np.tile(np.arange(WIDTH) >= 3 * number, (HEIGHT, 1))
        write_mask(made.inputs["render"] / "mask" / frame_name(number), seen)
    made.inputs["keyframes"].mkdir()
    for number in (1, 4, 7):
        coarse = read_rgb(made.inputs["render"] / "rgb" / frame_name(number))
        write_rgb(made.inputs["keyframes"] / frame_name(number), 255 - coarse[::-1].copy())
    with loaded_once():
        made.invert(made.inputs["interpolation_inversion"])
        yield made


@pytest.fixture(scope="module")
def expected(world: World, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return world.interpolate(tmp_path_factory.mktemp("expected") / "out")


def test_the_segment_writes_its_own_frames(world: World, expected: np.ndarray, tmp_path: Path) -> None:
    world.interpolate(tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [frame_name(n) for n in NUMBERS]
    assert expected.shape == (SEGMENT, HEIGHT, WIDTH, 3)
    assert expected.std() > 1


def test_the_inversion_keeps_every_level_of_both_directions(world: World) -> None:
    inverted = InvertedClip.load(world.inputs["interpolation_inversion"], "cpu")
    shape = (STEPS + 1, SEGMENT, CHANNELS, HEIGHT // FACTOR, WIDTH // FACTOR)
    assert inverted.forward.shape == inverted.reversed.shape == shape
    assert inverted.forward.dtype == torch.float32
    assert torch.equal(inverted.forward[0].flip(0), inverted.reversed[0])
    levels = inverted.sigmas
    assert bool((levels[1:] > levels[:-1]).all())
    # At its highest level a latent is that level's noise, not divided by it.
    assert 0.1 < float(inverted.forward[-1].std() / levels[-1]) < 10


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_batch_size(
    world: World, expected: np.ndarray, tmp_path: Path
) -> None:
    whole = InvertedClip.load(world.inputs["interpolation_inversion"], "cpu")
    single = world.invert(tmp_path / "inversion", max_batch=1)
    for chunked, at_once in ((single.forward, whole.forward), (single.reversed, whole.reversed)):
        assert float((chunked - at_once).norm() / at_once.norm()) < 1e-5
    assert largest_difference(world.interpolate(tmp_path / "out", max_batch=1), expected) <= 1


@pytest.mark.parametrize(
    "changes",
    [
        {"direction": "forward"},
        {"interp_strength": 0.4},
        {"anchor": "colour"},
        {"anchor": "detail"},
        {"guidance": 3.0},
        {"control_scale": 0.0},
        {"depth_range": "frame"},
        {"motion_bucket": 10},
        {"noise_aug": 0.5},
        {"injection": False},
        {"tau_attention": 0.0},
        {"tau_block": 0.0},
        {"compat_unflipped_masks": True},
        {"compat_scaled_source": True},
        {"seed": 6},
    ],
    ids=str,
)
@pytest.mark.slow
def test_every_option_changes_the_frames(
    world: World, expected: np.ndarray, tmp_path: Path, changes: dict[str, object]
) -> None:
    assert not np.array_equal(world.interpolate(tmp_path / "out", **changes), expected)


@pytest.mark.slow
@pytest.mark.parametrize("memory", TIERS[-2:], ids=lambda memory: memory.name)
def test_tiers_of_memory_make_the_same_frames(
    world: World, expected: np.ndarray, tmp_path: Path, memory: Tier
) -> None:
    (tmp_path / "inverted").mkdir()
    (tmp_path / "out").mkdir()
    inversion = InterpolationInversionStage(world.models, INVERSION, SEGMENT, 1)
    invert_segment(inversion, world.inputs, tmp_path / "inverted", lean(tmp_path, memory))
    inputs = {**world.inputs, "interpolation_inversion": tmp_path / "inverted"}
    stage = InterpolateStage(world.models, SAMPLING, 1)
    interpolate_segment(stage, inputs, tmp_path / "out", lean(tmp_path, memory))
    assert largest_difference(read_all(tmp_path / "out"), expected) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("fast", [False, True])
def test_a_deferred_inversion_makes_the_same_frames(
    world: World, expected: np.ndarray, tmp_path: Path, fast: bool
) -> None:
    world.invert(tmp_path / "inverted", deferred=True)
    (tmp_path / "out").mkdir()
    inputs = {**world.inputs, "interpolation_inversion": tmp_path / "inverted"}
    ctx = StageContext(device="cpu", max_batch=0, work=tmp_path, fast=fast)
    interpolate_segment(InterpolateStage(world.models, SAMPLING, 1), inputs, tmp_path / "out", ctx)
    assert largest_difference(read_all(tmp_path / "out"), expected) <= 1


def test_a_deferred_inversion_belongs_to_its_sampling(world: World, tmp_path: Path) -> None:
    world.invert(tmp_path / "inverted", deferred=True, control_scale=0.5)
    inputs = {**world.inputs, "interpolation_inversion": tmp_path / "inverted"}
    with pytest.raises(ConfigError, match=r"deferred inversion with .*0\.5.*set interpolate\.inversion"):
        interpolate_segment(InterpolateStage(world.models, SAMPLING, 1), inputs, tmp_path, context(tmp_path))


@pytest.mark.slow
def test_a_deferred_inversion_is_made_by_the_samplings_solver(world: World, tmp_path: Path) -> None:
    stored, deferred = (
        World(world.models, {**world.inputs, "interpolation_inversion": tmp_path / name})
        for name in ("stored", "deferred")
    )
    stored.invert(tmp_path / "stored", solver="dpmpp_2m")
    deferred.invert(tmp_path / "deferred", solver="dpmpp_2m", deferred=True)
    expected = stored.interpolate(tmp_path / "expected", solver="dpmpp_2m")
    found = deferred.interpolate(tmp_path / "found", solver="dpmpp_2m")
    assert largest_difference(found, expected) <= 1
    with pytest.raises(ConfigError, match=r"deferred inversion with .*dpmpp_2m"):
        deferred.interpolate(tmp_path / "refused")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"solver": "dpmpp_2m", "fusion": dataclasses.replace(FUSION, renoise=1)},
            "set interpolate.solver=euler",
        ),
        (
            {"solver": "dpmpp_2m", "fusion": dataclasses.replace(FUSION, cfg_plus_plus=True)},
            "one guided prediction",
        ),
        ({"unconditional_every": 2, "guidance": 1.0}, "which has no unconditional branch; leave it at 1"),
    ],
    ids=str,
)
def test_options_that_contradict_each_other_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(SAMPLING, **changes)


def keyframe(world: World, number: int) -> np.ndarray:
    return read_rgb(world.inputs["keyframes"] / frame_name(number))


@pytest.mark.slow
def test_anchored_detail_makes_the_ends_that_guide_the_last_step_their_pictures(
    world: World, expected: np.ndarray, tmp_path: Path
) -> None:
    both = world.interpolate(tmp_path / "both", anchor="detail")
    assert np.array_equal(both[0], keyframe(world, NUMBERS[0]))
    assert np.array_equal(both[-1], keyframe(world, NUMBERS[-1]))
    alone = world.interpolate(tmp_path / "alone", anchor="detail", interp_strength=0.4)
    assert np.array_equal(alone[0], keyframe(world, NUMBERS[0]))
    assert not np.array_equal(alone[-1], keyframe(world, NUMBERS[-1]))
    drifted = world.interpolate(
        tmp_path / "drifted", anchor="detail", interp_strength=0.4, drift_foreground=0.3
    )
    on_object = RenderFolder(world.inputs["render"]).foreground(NUMBERS[-1])
    assert np.array_equal(drifted[-1][~on_object], alone[-1][~on_object])
    before, after = (
        np.abs(made[-1] - keyframe(world, NUMBERS[-1]).astype(float)) for made in (alone, drifted)
    )
    assert 0.3 * before[on_object].sum() < after[on_object].sum() < 0.9 * before[on_object].sum()


def test_renders_without_flow_leave_frames_as_decoded(
    world: World, expected: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bare = tmp_path / "render"
    shutil.copytree(world.inputs["render"], bare)
    shutil.rmtree(bare / "flow")
    elsewhere = dataclasses.replace(world, inputs=world.inputs | {"render": bare})
    assert np.array_equal(elsewhere.interpolate(tmp_path / "out", anchor="detail"), expected)
    assert "no optical flow" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": "cosine"},
        {"weights": "power"},
        {"cfg_plus_plus": True},
        {"renoise": 1},
        {"distill_until": 0.5},
        {"replace_ends": True},
        {"method": "sequential"},
        {"method": "sequential", "data_consistency": True},
        {"method": "sequential", "cfg_plus_plus": True, "distill_until": 0.4, "renoise": 1},
    ],
    ids=str,
)
@pytest.mark.slow
def test_every_way_of_fusion_changes_the_frames_and_repeats_itself(
    world: World, expected: np.ndarray, tmp_path: Path, changes: dict[str, object]
) -> None:
    fusion = dataclasses.replace(FUSION, **changes)
    frames = world.interpolate(tmp_path / "out", fusion=fusion)
    assert not np.array_equal(frames, expected)
    chunked = world.interpolate(tmp_path / "chunked", max_batch=1, fusion=fusion)
    assert largest_difference(frames, chunked) <= 1


@pytest.mark.slow
def test_replaced_ends_bring_a_segment_to_its_keyframes(
    world: World, expected: np.ndarray, tmp_path: Path
) -> None:
    """Up to the VAE, which random weights make a poor one: its own reconstruction is the measure."""
    replaced = world.interpolate(tmp_path / "out", fusion=dataclasses.replace(FUSION, replace_ends=True))
    models = load_video_models(world.models, "cpu", ("vae",))
    keyframes = torch.stack(
        [read_signed_picture(world.inputs["keyframes"] / frame_name(n)) for n in (NUMBERS[0], NUMBERS[-1])]
    )
    latents = encode_frames(models, keyframes)
    for index, end in ((0, latents[0]), (-1, latents[1])):
        alone = decode_frames(models, end[None])[0].permute(1, 2, 0).numpy()
        distance = np.abs(replaced[index].astype(float) - alone).mean()
        assert distance < np.abs(expected[index].astype(float) - alone).mean()


@pytest.mark.parametrize(
    "changes",
    [
        {"control_scale": 0.0},
        {"depth_range": "frame"},
        {"motion_bucket": 10},
        {"noise_aug": 0.5},
        {"seed": 6},
    ],
    ids=str,
)
@pytest.mark.slow
def test_every_option_changes_the_inversion(world: World, tmp_path: Path, changes: dict[str, object]) -> None:
    usual = InvertedClip.load(world.inputs["interpolation_inversion"], "cpu")
    changed = world.invert(tmp_path / "out", **changes)
    assert not torch.equal(changed.forward, usual.forward)
    assert not torch.equal(changed.reversed, usual.reversed)


def test_unflipped_depth_concerns_the_reversed_inversion_only(world: World, tmp_path: Path) -> None:
    usual = InvertedClip.load(world.inputs["interpolation_inversion"], "cpu")
    compat = world.invert(tmp_path / "out", compat_unflipped_depth=True)
    torch.testing.assert_close(compat.forward, usual.forward)
    assert not torch.allclose(compat.reversed, usual.reversed)


@pytest.mark.slow
def test_both_keyframes_matter_and_forward_only_forgets_the_last(
    world: World, expected: np.ndarray, tmp_path: Path
) -> None:
    keyframes = tmp_path / "keyframes"
    keyframes.mkdir()
    for number in (4, 7):
        picture = read_rgb(world.inputs["keyframes"] / frame_name(number))
        write_rgb(keyframes / frame_name(number), picture if number == 4 else 255 - picture)
    other = World(world.models, {**world.inputs, "keyframes": keyframes})
    both = other.interpolate(tmp_path / "both")
    assert largest_difference(both[-1], expected[-1]) > 1
    forward = other.interpolate(tmp_path / "forward", direction="forward")
    assert np.array_equal(forward, world.interpolate(tmp_path / "usual", direction="forward"))


@pytest.mark.slow
def test_a_single_stage_is_guided_by_the_photo_and_then_by_the_segment_before(
    world: World, tmp_path: Path
) -> None:
    scene, previous = tmp_path / "scene", tmp_path / "previous"
    for folder in (scene, previous):
        folder.mkdir()
    keyframe = read_rgb(world.inputs["keyframes"] / frame_name(4))
    write_rgb(scene / "photo.png", keyframe)
    write_rgb(previous / frame_name(4), 255 - keyframe)
    inputs = {name: path for name, path in world.inputs.items() if name != "keyframes"} | {"scene": scene}
    single = {"direction": "forward", "conditioning": "photo"}
    first = World(world.models, inputs).interpolate(tmp_path / "first", **single)
    assert np.array_equal(first, world.interpolate(tmp_path / "forward", direction="forward"))
    later = World(world.models, {**inputs, "previous": previous}).interpolate(tmp_path / "later", **single)
    assert largest_difference(later, first) > 1


@pytest.mark.slow
def test_a_chained_segment_begins_with_the_frame_before_and_ends_at_its_keyframe(
    world: World, expected: np.ndarray, tmp_path: Path
) -> None:
    first = world.interpolate(tmp_path / "first", conditioning="chained")
    assert np.array_equal(first, expected)  # no segment before it
    previous = tmp_path / "previous"
    previous.mkdir()
    write_rgb(previous / frame_name(4), 255 - read_rgb(world.inputs["keyframes"] / frame_name(4)))
    later = World(world.models, {**world.inputs, "previous": previous})
    assert largest_difference(later.interpolate(tmp_path / "later", conditioning="chained"), expected) > 1


@pytest.mark.slow
def test_half_precision_networks_keep_a_float32_state(
    world: World, expected: np.ndarray, tmp_path: Path
) -> None:
    half = World(dataclasses.replace(world.models, dtype="bfloat16"), world.inputs)
    inverted = half.invert(tmp_path / "inversion")
    usual = InvertedClip.load(world.inputs["interpolation_inversion"], "cpu")
    assert inverted.forward.dtype == torch.float32
    assert float((inverted.forward[-1] - usual.forward[-1]).norm() / usual.forward[-1].norm()) < 0.03
    frames = half.interpolate(tmp_path / "out")
    assert np.abs(frames.astype(float) - expected).mean() < 3


def test_another_number_of_steps_than_the_inversion_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"interpolate\.steps is 5 but .* was inverted in 3 steps"):
        world.interpolate(tmp_path / "out", steps=5)


def test_a_segment_that_does_not_exist_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"segment 2 of .* does not exist.* segments 0 to 1"):
        world.invert(tmp_path / "out", segment=2)


def test_a_keyframe_of_another_size_is_refused(world: World, tmp_path: Path) -> None:
    keyframes = tmp_path / "keyframes"
    keyframes.mkdir()
    for number in (4, 7):
        write_rgb(keyframes / frame_name(number), np.zeros((8, 8, 3), np.uint8))
    other = World(world.models, {**world.inputs, "keyframes": keyframes})
    with pytest.raises(ArtifactError, match=r"0004\.png is 8x8 but the render is 24x16"):
        other.interpolate(tmp_path / "out")


def test_a_corrupt_inversion_is_named(world: World, tmp_path: Path) -> None:
    broken = tmp_path / "inversion"
    broken.mkdir()
    (broken / "latents.safetensors").write_bytes(b"no safetensors")
    other = World(world.models, {**world.inputs, "interpolation_inversion": broken})
    with pytest.raises(ArtifactError, match=r"latents\.safetensors is not an inversion"):
        other.interpolate(tmp_path / "out")


def test_renders_that_are_no_whole_number_of_latents_are_refused(world: World, tmp_path: Path) -> None:
    write_moving_disc(tmp_path / "render", FRAMES, HEIGHT, WIDTH + 2)
    other = World(world.models, {"render": tmp_path / "render"})
    with pytest.raises(ShapeError, match="multiples of 4"):
        other.invert(tmp_path / "out")


def test_a_layer_pattern_without_a_match_is_refused(world: World, tmp_path: Path) -> None:
    layers = VideoLayers(attention=("up_blocks.9.*",), block=("up_blocks.0.resnets.1",))
    other = World(dataclasses.replace(world.models, layers=layers), world.inputs)
    with pytest.raises(LayerError, match=r"up_blocks\.9"):
        other.interpolate(tmp_path / "out")


@pytest.mark.slow
def test_a_segment_has_the_seed_that_is_named_for_it(
    world: World, expected: np.ndarray, tmp_path: Path
) -> None:
    other = world.interpolate(tmp_path / "seed", seed=6)
    np.testing.assert_array_equal(world.interpolate(tmp_path / "own", segment_seeds={1: 6}), other)
    np.testing.assert_array_equal(world.interpolate(tmp_path / "of another", segment_seeds={0: 6}), expected)
    assert largest_difference(other, expected) > 0


def test_the_artefact_holds_what_the_registry_says(world: World) -> None:
    tensors = load_file(world.inputs["interpolation_inversion"] / "latents.safetensors")
    in_metadata = {"guide"}
    assert set(tensors) == {field.name for field in dataclasses.fields(InvertedClip)} - in_metadata
