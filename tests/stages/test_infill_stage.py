"""Contracts of the stages `text` and `infill` on a tiny random pipeline: what changes a result, what must not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from i2v3d.artifacts.folders import frame_name, segment_name
from i2v3d.artifacts.prompts import EmbeddedPrompts
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.config.infill import InfillConfig, TextConfig
from i2v3d.config.interpolate import AssembleConfig
from i2v3d.config.models import TextEncoderConfig, WanVaceNetworks
from i2v3d.config.stages import InfillStage, TextStage
from i2v3d.errors import ArtifactError, ConfigError
from i2v3d.images import read_rgb, write_rgb
from i2v3d.models.wan_vace import ClipAutoencoder
from i2v3d.stages.assemble import all_frames, frame_folders
from i2v3d.stages.context import StageContext
from i2v3d.stages.infill import fill_segment
from i2v3d.stages.text import embed_prompts
from i2v3d.toy.moving_disc import write_moving_disc
from tests.support.image_family import reference
from tests.support.networks import loaded_once
from tests.support.vace_family import write_tiny_pipeline

FRAMES, SEGMENT, HEIGHT, WIDTH = 17, 9, 32, 48
FIRST, SECOND = list(range(1, 10)), list(range(9, 18))  # frames of the two segments
FILLING = InfillConfig(
    segment_frames=SEGMENT,
    keyframes="generated",
    start="keyframe",
    overlap=4,
    control="depth",
    keep="nothing",
    ends="one",
    reference=True,
    paste="nothing",
    depth_range="shot",
    control_scale=1.0,
    steps=2,
    guidance=3.0,
    flow_shift=3.0,
    seed=5,
)


@dataclasses.dataclass(frozen=True)
class World:
    """What the stage reads."""

    models: WanVaceNetworks
    inputs: dict[str, Path]

    def fill(
        self, out: Path, segment: int = 1, previous: Path | None = None, max_batch: int = 0, **changes: object
    ) -> np.ndarray:
        """The frames (F, H, W, 3) of a segment of FILLING with some values changed."""
        out.mkdir(parents=True)
        stage = InfillStage(self.models, dataclasses.replace(FILLING, **changes), segment)
        inputs = self.inputs | ({} if previous is None else {"previous": previous})
        fill_segment(stage, inputs, out, StageContext(device="cpu", max_batch=max_batch, work=out))
        numbers = (FIRST, SECOND)[segment]
        assert sorted(path.name for path in out.iterdir()) == [frame_name(n) for n in numbers]
        return np.stack([read_rgb(out / frame_name(n)) for n in numbers])

    def keyframe(self, number: int) -> np.ndarray:
        return read_rgb(self.inputs["keyframes"] / frame_name(number))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("infill")
    write_tiny_pipeline(root / "weights")
    inputs = {name: root / name for name in ("scene", "render", "keyframes", "text")}
    write_moving_disc(inputs["render"], FRAMES, HEIGHT, WIDTH)
    render = RenderFolder(inputs["render"])  # the shot comes nearer and goes farther than these frames
    render.write_cameras(dataclasses.replace(render.cameras(), depth_range_m=(0.5, 6.0)))
    for name in ("scene", "keyframes", "text"):
        inputs[name].mkdir()
    for number in (1, 9, 17):
        coarse = read_rgb(inputs["render"] / "rgb" / frame_name(number))
        write_rgb(inputs["keyframes"] / frame_name(number), 255 - coarse[::-1].copy())
    write_rgb(inputs["scene"] / "photo.png", read_rgb(inputs["render"] / "rgb" / "0001.png")[:, ::-1].copy())
    base = reference(root / "weights")
    encoder = TextEncoderConfig(base=base, dtype="float32", max_tokens=6)
    prompts = TextConfig(prompt="a red cup", negative_prompt="blurry")
    embed_prompts(
        TextStage(encoder, prompts), {}, inputs["text"], StageContext("cpu", max_batch=0, work=root)
    )
    networks = WanVaceNetworks(base=base, dtype="float32", storage=None, transformer=None, loras=())
    with loaded_once():
        yield World(networks, inputs)


@pytest.fixture(scope="module")
def expected(world: World, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return world.fill(tmp_path_factory.mktemp("expected") / "out")


def test_the_segment_is_a_video_that_repeats_itself(
    world: World, expected: np.ndarray, tmp_path: Path
) -> None:
    assert expected.shape == (SEGMENT, HEIGHT, WIDTH, 3) and expected.std() > 1
    again = world.fill(tmp_path / "out", max_batch=1)
    assert np.abs(again.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    "changes",
    [
        {"control": "grey"},
        {"control": "flow"},
        {"control": "lines"},
        {"control": "none"},
        {"keep": "background"},
        {"ends": "two"},
        {"reference": False},
        {"depth_range": "frame"},
        {"control_scale": 0.2},
        {"guidance": 1.0},
        {"flow_shift": 5.0},
        {"steps": 3},
        {"seed": 6},
    ],
    ids=str,
)
@pytest.mark.slow
def test_every_option_changes_the_frames(
    world: World, expected: np.ndarray, tmp_path: Path, changes: dict[str, object]
) -> None:
    assert not np.array_equal(world.fill(tmp_path / "out", **changes), expected)


def test_pasted_frames_are_the_keyframes_and_others_stay(
    world: World, expected: np.ndarray, tmp_path: Path
) -> None:
    pasted = world.fill(tmp_path / "out", paste="frames")
    assert np.array_equal(pasted[0], world.keyframe(9)) and np.array_equal(pasted[-1], world.keyframe(17))
    assert np.array_equal(pasted[1:-1], expected[1:-1])
    assert not np.array_equal(expected[0], world.keyframe(9))


def test_two_frames_an_end_are_known_where_the_render_shows_the_same_points(
    world: World, tmp_path: Path
) -> None:
    """The camera stands still and the disc moves: the ramp of the neighbours is the keyframe's, in place."""
    pasted = world.fill(tmp_path / "out", ends="two", paste="pixels")
    row = HEIGHT - 2  # below the disc
    columns = np.arange(WIDTH) >= WIDTH / 8 + 1  # the strip at the left is not seen
    for beside, keyframe in ((1, 9), (-2, 17)):
        known = world.keyframe(keyframe)[row].astype(int)
        assert np.abs(pasted[beside, row].astype(int) - known)[columns].max() <= 1
    assert not np.array_equal(pasted[2, row], world.keyframe(9)[row])


def test_how_near_the_ends_come_is_recorded_before_they_are_pasted(world: World, tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    stage = InfillStage(world.models, dataclasses.replace(FILLING, paste="frames"), 1)
    sinks = (lambda _, row: rows.append(dict(row)),)
    fill_segment(stage, world.inputs, tmp_path, StageContext("cpu", max_batch=0, work=tmp_path, sinks=sinks))
    found = {
        name: value for row in rows for name, value in row.items() if name.startswith("kept_frame_psnr/")
    }
    assert set(found) == {"kept_frame_psnr/1", f"kept_frame_psnr/{SEGMENT}"}
    assert all(0 < value < 60 for value in found.values())


def test_pasted_background_is_the_renders_and_the_object_is_generated(world: World, tmp_path: Path) -> None:
    pasted = world.fill(tmp_path / "out", keep="background", paste="pixels")[4]
    coarse = read_rgb(world.inputs["render"] / "rgb" / frame_name(13))
    same = (pasted == coarse).all(-1)
    columns = np.arange(WIDTH) >= WIDTH / 8  # the strip at the left is not seen
    assert same[0, columns].all() and not same[HEIGHT // 2].all()
    assert not same[:, ~columns].all()


def test_neighbouring_segments_share_their_keyframe_exactly(world: World, tmp_path: Path) -> None:
    stage = tmp_path / "infill"
    for segment in (0, 1):
        world.fill(stage / segment_name(segment), segment=segment, paste="frames")
    shared = [read_rgb(stage / segment_name(s) / frame_name(9)) for s in (0, 1)]
    assert np.array_equal(*shared)
    assert list(all_frames(frame_folders(stage, "infill", "flat"), FRAMES)) == list(range(1, FRAMES + 1))
    AssembleConfig(frames="infill", light="flat", crf=5, sheet_columns=3)


@pytest.mark.slow
def test_the_photo_alone_starts_the_shot_and_segments_hand_over(world: World, tmp_path: Path) -> None:
    """Without keyframes; an overlap gives the segment more to go on than the one frame."""
    alone = World(world.models, {name: path for name, path in world.inputs.items() if name != "keyframes"})
    photo = {"keyframes": "photo", "start": "overlap", "paste": "frames"}
    first = alone.fill(tmp_path / "first", segment=0, **photo)
    assert np.array_equal(first[0], read_rgb(world.inputs["scene"] / "photo.png"))
    overlapped = alone.fill(tmp_path / "overlap", previous=tmp_path / "first", **photo)
    handed = alone.fill(tmp_path / "previous", previous=tmp_path / "first", **photo | {"start": "previous"})
    for found in (overlapped, handed):
        assert np.array_equal(found[0], first[-1])
    assert not np.array_equal(overlapped[1:], handed[1:])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"segment_frames": 5, "segment": 7}, "segment 7 .* does not exist"),
        ({"start": "overlap", "overlap": 3, "previous": "yes"}, "cannot make: it needs 4k"),
    ],
)
def test_segments_that_cannot_be_made_are_refused(
    world: World, tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    segment = int(changes.pop("segment", 1))
    inputs = dict(world.inputs)
    if changes.pop("previous", None):
        inputs["previous"] = world.inputs["render"] / "rgb"
    stage = InfillStage(world.models, dataclasses.replace(FILLING, **changes), segment)
    with pytest.raises((ConfigError, ArtifactError), match=told):
        fill_segment(stage, inputs, tmp_path, StageContext("cpu", max_batch=0, work=tmp_path))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"keyframes": "photo"}, "infill.start is keyframe; set infill.start=overlap"),
        ({"start": "overlap", "overlap": 12}, "infill.overlap is 12, but a segment has 9 frames"),
    ],
)
def test_options_that_contradict_are_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        dataclasses.replace(FILLING, **changes)


def test_broken_prompts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "prompts.safetensors").write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match="holds no prompts"):
        EmbeddedPrompts.load(tmp_path)


def test_what_is_not_finite_is_not_written(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = torch.full((2, 3), torch.nan)
    with pytest.raises(ConfigError, match="embedded prompt, positive: 6 of 6 numbers are not finite"):
        EmbeddedPrompts(torch.zeros(2, 3), nowhere).save(tmp_path)
    assert not list(tmp_path.iterdir())
    black = torch.full((SEGMENT, 3, HEIGHT, WIDTH), torch.nan)
    monkeypatch.setattr(ClipAutoencoder, "decode", lambda *_, **__: black)
    with pytest.raises(ConfigError, match=r"decoded frames: .* numbers are not finite"):
        world.fill(tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
