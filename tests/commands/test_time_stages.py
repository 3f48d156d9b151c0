"""What the stages cost at full size: the networks are the published ones, and it times what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from i2v3d.cli import main
from i2v3d.commands import stage_costs
from i2v3d.commands.time_stages import STAGES
from i2v3d.models import published
from tests.support.image_family import LAYERS, write_tiny_family
from tests.support.video_family import LAYERS as VIDEO_LAYERS
from tests.support.video_family import write_tiny_video_family


@pytest.mark.parametrize(
    ("builder", "millions"),
    [(published.image_unet, 2567), (published.image_vae, 84), (published.video_unet, 1525)],
)
def test_the_networks_have_as_many_parameters_as_published(builder, millions: int) -> None:
    with torch.device("meta"):
        network = builder()
    assert round(sum(p.numel() for p in network.parameters()) / 1e6) == millions


def test_the_second_text_encoder_and_the_image_encoder_have_their_published_sizes() -> None:
    from transformers import CLIPTextModelWithProjection

    with torch.device("meta"):
        text = CLIPTextModelWithProjection(published.text_config(1280, 32, 20, "gelu"))
        vision = published.image_encoder()
    millions = [round(sum(p.numel() for p in n.parameters()) / 1e6) for n in (text, vision)]
    assert millions == [695, 632]


def tiny_words() -> list[str]:
    """What small networks need instead of the published ones, and few steps."""
    image, video = json.dumps(list(LAYERS.conv)), json.dumps(list(VIDEO_LAYERS.block))
    return [
        "models.image.dtype=float32",
        "models.video.dtype=float32",
        f"models.image.layers.attention={json.dumps(list(LAYERS.attention))}",
        f"models.image.layers.conv={image}",
        f"models.video.layers.attention={json.dumps(list(VIDEO_LAYERS.attention))}",
        f"models.video.layers.block={video}",
        "lora.resolution=32",
        "lora.rank=2",
        "keyframes.steps=2",
        "keyframes.inversion.steps=2",
        "interpolate.steps=2",
        "interpolate.inversion.steps=2",
        "interpolate.segment_frames=5",
    ]


@pytest.mark.slow
def test_every_stage_runs_on_every_segment_and_is_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def write_random(folder: Path, device: str, *_: object) -> None:
        write_tiny_family(folder)
        write_tiny_video_family(folder)

    monkeypatch.setattr(stage_costs, "write_random", write_random)
    words = [
        "--size",
        "64x32",
        "--segments",
        "2",
        "--views",
        "2",
        "lora.steps=2",
        "--device",
        "cpu",
        "--count",
        "--json",
    ]
    assert main(["time-stages", *words, "--folder", str(tmp_path), *tiny_words()]) == 0
    printed = capsys.readouterr().out
    result = json.loads(printed.splitlines()[-1])
    assert result["frames"] == 9 and result["keyframes"] == 3
    assert [run["perf"] for run in result["runs"]] == ["plain", "fast"]
    for run in result["runs"]:
        assert list(run["stages"]) == list(STAGES)
        assert all(0 < row["steps_s"] < row["wall_s"] for row in run["stages"].values())
        assert len(run["stages"]["interpolate"]["each_s"]) == 2
    assert "interpolate " in printed
    plain, fast = ({name: run["stages"][name] for name in STAGES[1:]} for run in result["runs"])
    for name, row in plain.items():
        assert (
            row["tflops"] == pytest.approx(row["step_tflop"] / row["step_ms"] * 1000)
            and "of_ceiling" not in row
        )
        share = fast[name]["step_tflop"] / row["step_tflop"]
        assert 0.5 < share < 1.05, (
            "fast leaves out what nobody reads, and prepares conditions in its first call"
        )
    assert "step_ms" in result["runs"][0]["stages"]["lora"]
    assert not list(tmp_path.iterdir()), "what it wrote is gone"


def test_wrong_hydra_words_are_refused_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stage_costs, "write_random", lambda *_: pytest.fail("weights were written"))
    assert main(["time-stages", "lora.stepps=3", "--device", "cpu", "--size", "64x32"]) == 2
    assert "stepps" in capsys.readouterr().err


def test_the_miniature_is_timed_with_the_weights_that_it_comes_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(stage_costs, "write_random", lambda *_: pytest.fail("weights were written"))
    sources = []
    monkeypatch.setattr(
        stage_costs,
        "_time_run",
        lambda config, *_: sources.append(config["models"]["image"]["base"]["source"]),
    )
    words = ["--models", "mini", "--segments", "2", "--device", "cpu", "--json", "--folder", str(tmp_path)]
    assert main(["time-stages", *words]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["models"], result["size"], result["frames"]) == ("mini", "192x128", 15)
    assert sources == ["weights/mini/image"] * 2, "once plain and once fast"
