"""Contracts of the two keyframe stages on a tiny random family: what changes a result and what must not."""

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
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.config.keyframes import KeyframeInversionConfig, KeyframesConfig
from i2v3d.config.models import ImageModelConfig
from i2v3d.errors import ArtifactError, ConfigError, InputError, LayerError, ShapeError
from i2v3d.images import read_rgb, write_rgb
from i2v3d.models.memory import TIERS, Tier
from i2v3d.stages.context import StageContext
from i2v3d.stages.keyframe_inversion import KeyframeInversionStage, invert_keyframes
from i2v3d.stages.keyframes import KeyframesStage, generate_keyframes
from i2v3d.toy.moving_disc import write_moving_disc
from tests.support.image_family import CHANNELS, FACTOR, write_lora, write_tiny_family
from tests.support.networks import loaded_once

FRAMES, SEGMENT, STEPS, HEIGHT, WIDTH = 13, 4, 3, 32, 48
KEYFRAMES = [1, 4, 7, 10, 13]
SAMPLING = KeyframesConfig(
    steps=STEPS,
    solver="ddim",
    guidance=3.0,
    unconditional_every=1,
    cache_interval=1,
    strength=1.0,
    prompt="a red cup",
    negative_prompt="blurry",
    control_scale=1.0,
    depth_range="shot",
    source="generated",
    first="generated",
    injection=True,
    extended_attention=True,
    shared="background",
    tau_foreground=1.0,
    tau_background=0.7,
    tau_conv=0.4,
    window=3,
    overlap=1,
    render_detail=0.0,
    render_colour=0.0,
    render_light="flat",
    compat_inclusive_tau=False,
    seed=5,
)
INVERSION = KeyframeInversionConfig(
    network="customised", light="flat", steps=STEPS, prompt="", control_scale=1.0, depth_range="shot"
)


@dataclasses.dataclass(frozen=True)
class World:
    """Everything the two stages read, and the finished inversion."""

    models: ImageModelConfig
    inputs: dict[str, Path]

    def generate(self, out: Path, max_batch: int = 0, **changes: object) -> np.ndarray:
        """The keyframes (N, H, W, 3) of SAMPLING with some values changed."""
        out.mkdir()
        stage = KeyframesStage(self.models, dataclasses.replace(SAMPLING, **changes), SEGMENT)
        generate_keyframes(stage, self.inputs, out, context(out, max_batch))
        return read_all(out)


def context(work: Path, max_batch: int = 0) -> StageContext:
    return StageContext(device="cpu", max_batch=max_batch, work=work)


def read_all(folder: Path) -> np.ndarray:
    return np.stack([read_rgb(folder / frame_name(n)) for n in KEYFRAMES])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("keyframes")
    models = write_tiny_family(root)
    inputs = {name: root / name for name in ("render", "lora", "keyframe_inversion")}
    write_moving_disc(inputs["render"], FRAMES, HEIGHT, WIDTH)
    inputs["lora"].mkdir()
    write_lora(inputs["lora"])
    inputs["keyframe_inversion"].mkdir()
    stage = KeyframeInversionStage(models, INVERSION, SEGMENT)
    with loaded_once():
        invert_keyframes(stage, inputs, inputs["keyframe_inversion"], context(root))
        yield World(models, inputs)


@pytest.fixture(scope="module")
def base(world: World, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return world.generate(tmp_path_factory.mktemp("base") / "out")


def test_the_inversion_holds_every_noise_level_of_every_keyframe(world: World) -> None:
    latents = load_file(world.inputs["keyframe_inversion"] / "latents.safetensors")["latents"]
    assert latents.shape == (STEPS, len(KEYFRAMES), CHANNELS, HEIGHT // FACTOR, WIDTH // FACTOR)
    assert latents.dtype == torch.float32
    assert torch.isfinite(latents).all()


@pytest.mark.slow
def test_the_inversion_does_not_depend_on_the_batch_size(world: World, tmp_path: Path) -> None:
    stage = KeyframeInversionStage(world.models, INVERSION, SEGMENT)
    invert_keyframes(stage, world.inputs, tmp_path, context(tmp_path, max_batch=2))
    whole, chunked = (
        load_file(folder / "latents.safetensors")["latents"]
        for folder in (world.inputs["keyframe_inversion"], tmp_path)
    )
    assert torch.allclose(whole, chunked, atol=1e-4)


@pytest.mark.slow
def test_the_base_network_inverts_without_the_lora(world: World, tmp_path: Path) -> None:
    cfg = dataclasses.replace(INVERSION, network="base")
    inputs = {"render": world.inputs["render"]}  # the LoRA need not even be trained yet
    invert_keyframes(KeyframeInversionStage(world.models, cfg, SEGMENT), inputs, tmp_path, context(tmp_path))
    customised, base = (
        load_file(folder / "latents.safetensors")["latents"]
        for folder in (world.inputs["keyframe_inversion"], tmp_path)
    )
    assert customised.shape == base.shape and not torch.allclose(customised, base, atol=1e-3)


def test_the_renders_are_inverted_under_the_light_of_the_photo(world: World, tmp_path: Path) -> None:
    for name, brightness in (("same", 1.0), ("dark", 0.6)):
        render = RenderFolder(shutil.copytree(world.inputs["render"], tmp_path / f"{name}_render"))
        for frame in range(1, FRAMES + 1):
            render.write_lit(frame, (render.rgb(frame) * brightness).astype(np.uint8))
        stage = KeyframeInversionStage(world.models, dataclasses.replace(INVERSION, light="photo"), SEGMENT)
        (tmp_path / name).mkdir()
        invert_keyframes(stage, {**world.inputs, "render": render.path}, tmp_path / name, context(tmp_path))
    flat, same, dark = (
        load_file(folder / "latents.safetensors")["latents"][0]
        for folder in (world.inputs["keyframe_inversion"], tmp_path / "same", tmp_path / "dark")
    )
    assert torch.equal(same, flat) and (dark - flat).square().mean() > 1e-3


def test_keyframes_have_the_size_of_the_renders(base: np.ndarray) -> None:
    assert base.shape == (len(KEYFRAMES), HEIGHT, WIDTH, 3)
    assert base.std() > 1


def test_deep_features_are_kept_by_fast_networks_alone(world: World, tmp_path: Path) -> None:
    stage = KeyframesStage(world.models, dataclasses.replace(SAMPLING, cache_interval=2), SEGMENT)
    (tmp_path / "auto").mkdir()
    generate_keyframes(stage, world.inputs, tmp_path / "auto", context(tmp_path))
    asked = dataclasses.replace(context(tmp_path), weighing=False)
    with pytest.raises(ConfigError, match=r"cache_interval is 2.*set runtime\.perf=fast"):
        generate_keyframes(stage, world.inputs, tmp_path / "plain", asked)


@pytest.mark.parametrize("max_batch", [1, 7, 12])
@pytest.mark.slow
def test_keyframes_do_not_depend_on_the_batch_size(
    world: World, base: np.ndarray, tmp_path: Path, max_batch: int
) -> None:
    chunked = world.generate(tmp_path / "out", max_batch)
    assert np.abs(chunked.astype(int) - base).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("memory", [TIERS[1], TIERS[-1]], ids=lambda memory: memory.name)
def test_tiers_of_memory_make_the_same_keyframes(
    world: World, base: np.ndarray, tmp_path: Path, memory: Tier
) -> None:
    (tmp_path / "inverted").mkdir()
    (tmp_path / "out").mkdir()
    ctx = StageContext(device="cpu", max_batch=9, work=tmp_path, fast=True, memory=memory)
    invert_keyframes(
        KeyframeInversionStage(world.models, INVERSION, SEGMENT), world.inputs, tmp_path / "inverted", ctx
    )
    inputs = {**world.inputs, "keyframe_inversion": tmp_path / "inverted"}
    generate_keyframes(KeyframesStage(world.models, SAMPLING, SEGMENT), inputs, tmp_path / "out", ctx)
    assert np.abs(read_all(tmp_path / "out").astype(int) - base).max() <= 1


@pytest.mark.parametrize(
    "change",
    [
        {"injection": False},
        {"extended_attention": False},
        {"shared": "everything"},
        {"control_scale": 0.0},
        {"seed": 6},
        {"tau_background": 0.0},
        {"tau_conv": 1.0},
        {"compat_inclusive_tau": True, "tau_background": 0.3},
        {"depth_range": "frame"},
        {"window": 5},
        {"prompt": "a blue house"},
        {"guidance": 1.0},
        {"render_detail": 1.0},
    ],
    ids=lambda change: "-".join(change),
)
@pytest.mark.slow
def test_every_option_has_an_effect(
    world: World, base: np.ndarray, tmp_path: Path, change: dict[str, object]
) -> None:
    assert not np.array_equal(world.generate(tmp_path / "out", **change), base)


def test_keyframes_take_over_the_colours_of_their_renders(
    world: World, base: np.ndarray, tmp_path: Path
) -> None:
    passes = RenderFolder(world.inputs["render"]).passes(KEYFRAMES)
    coloured = world.generate(tmp_path / "out", render_colour=1.0)

    def apart(pictures: np.ndarray) -> float:
        """Mean distance of the mean colours of surfaces."""
        pairs = zip(pictures.astype(float) - passes.rgb, passes.visible, strict=True)
        return float(np.mean([np.abs(difference[seen].mean(axis=0)) for difference, seen in pairs]))

    assert apart(coloured) < 0.2 * apart(base)


def with_photo(world: World, folder: Path, photo: np.ndarray) -> World:
    """The world with a scene that has this photo."""
    folder.mkdir()
    write_rgb(folder / "photo.png", photo)
    return World(world.models, {**world.inputs, "scene": folder})


def test_the_photo_as_first_keyframe_is_shown_as_it_is_and_seen_by_its_window(
    world: World, base: np.ndarray, tmp_path: Path
) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    shown = with_photo(world, tmp_path / "scene", photo).generate(tmp_path / "out", first="photo")
    assert np.array_equal(shown[0], photo)
    assert not np.array_equal(shown[1:3], base[1:3])  # of the same window
    assert (shown[1:3].astype(int) - base[1:3]).any(axis=-1).mean() > 0.01


def test_an_oracle_takes_the_true_pictures_of_the_keyframes(world: World, tmp_path: Path) -> None:
    scene = with_photo(world, tmp_path / "scene", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    with pytest.raises(InputError, match="nobody knows the true pictures"):
        scene.generate(tmp_path / "none", source="truth")
    true = np.random.default_rng(1).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    folder = tmp_path / "scene" / "truth" / "photo"
    folder.mkdir(parents=True)
    for number, picture in enumerate(true, start=1):
        write_rgb(folder / frame_name(number), picture)
    shown = scene.generate(tmp_path / "out", source="truth")
    assert np.array_equal(shown, true[[number - 1 for number in KEYFRAMES]])


@pytest.mark.slow
def test_without_extended_attention_the_photo_changes_no_other_keyframe(world: World, tmp_path: Path) -> None:
    plain = world.generate(tmp_path / "plain", extended_attention=False)
    photo = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    scene = with_photo(world, tmp_path / "scene", photo)
    shown = scene.generate(tmp_path / "shown", extended_attention=False, first="photo")
    assert np.array_equal(shown[1:], plain[1:])


def test_a_photo_of_another_size_is_no_keyframe(world: World, tmp_path: Path) -> None:
    scene = with_photo(world, tmp_path / "scene", np.zeros((HEIGHT, WIDTH + 16, 3), np.uint8))
    with pytest.raises(
        ArtifactError, match=r"is 64x32 but the render is 48x32; set keyframes\.first=generated"
    ):
        scene.generate(tmp_path / "out", first="photo")


@pytest.mark.slow
def test_the_lora_has_an_effect(world: World, base: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "lora").mkdir()
    write_lora(tmp_path / "lora", scale=0.0)
    without = World(world.models, {**world.inputs, "lora": tmp_path / "lora"})
    assert not np.array_equal(without.generate(tmp_path / "out"), base)


def test_frames_that_do_not_fit_the_segments_are_refused(world: World, tmp_path: Path) -> None:
    stage = KeyframeInversionStage(world.models, INVERSION, 6)
    with pytest.raises(ConfigError, match="does not fit segments of 6"):
        invert_keyframes(stage, world.inputs, tmp_path, context(tmp_path))


def test_an_inversion_of_other_steps_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"holds 3 steps .* expected 4 steps"):
        world.generate(tmp_path / "out", steps=4)


def test_a_size_that_the_networks_cannot_halve_is_refused(world: World, tmp_path: Path) -> None:
    write_moving_disc(tmp_path / "render", FRAMES, HEIGHT, WIDTH + 4)
    stage = KeyframeInversionStage(world.models, INVERSION, SEGMENT)
    with pytest.raises(ShapeError, match=r"52x32.*multiples of 16, such as 48x32"):
        invert_keyframes(stage, {**world.inputs, "render": tmp_path / "render"}, tmp_path, context(tmp_path))


def test_a_missing_render_is_named(world: World, tmp_path: Path) -> None:
    write_moving_disc(tmp_path / "render", FRAMES, HEIGHT, WIDTH)
    (tmp_path / "render" / "rgb" / frame_name(3)).unlink()
    stage = KeyframeInversionStage(world.models, INVERSION, SEGMENT)
    with pytest.raises(ArtifactError, match=r"lacks 0003\.png"):
        invert_keyframes(stage, {**world.inputs, "render": tmp_path / "render"}, tmp_path, context(tmp_path))


def test_a_file_that_is_no_lora_is_refused(world: World, tmp_path: Path) -> None:
    (tmp_path / "pytorch_lora_weights.safetensors").write_bytes(b"nonsense")
    broken = World(world.models, {**world.inputs, "lora": tmp_path})
    with pytest.raises(
        InputError, match=r"is no safetensors file .* give a LoRA of the configured image UNet"
    ):
        broken.generate(tmp_path / "out")


def test_a_layer_pattern_that_matches_nothing_is_refused(world: World, tmp_path: Path) -> None:
    layers = dataclasses.replace(world.models.layers, conv=("up_blocks.7.resnets.*.conv2",))
    broken = World(dataclasses.replace(world.models, layers=layers), world.inputs)
    with pytest.raises(LayerError, match=r"'up_blocks\.7\.resnets\.\*\.conv2' matches no module"):
        broken.generate(tmp_path / "out")
