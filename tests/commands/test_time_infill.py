"""What a segment by Wan VACE costs: its networks are the published ones, and the same result is timed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from i2v3d.cli import main
from i2v3d.commands import infill_costs
from i2v3d.models import published_wan
from tests.support.vace_family import TEXT_WIDTH, write_tiny_pipeline


@pytest.mark.parametrize(("size", "millions"), [("1.3B", 2154), ("14B", 17342)])
def test_the_transformers_have_as_many_parameters_as_published(size: str, millions: int) -> None:
    with torch.device("meta"):
        network = published_wan.wan_transformer(size)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6) == pytest.approx(millions, abs=10)


@pytest.mark.slow
def test_both_ways_are_timed_and_make_the_same_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(infill_costs, "TEXT_WIDTH", TEXT_WIDTH)
    monkeypatch.setattr(infill_costs, "write_random_wan", lambda folder, *_: write_tiny_pipeline(folder))
    words = (
        "--size",
        "48x32",
        "--ways",
        "diffusers",
        "plain",
        "--device",
        "cpu",
        "--folder",
        tmp_path,
        "--json",
    )
    hydra = ("models.segment_frames=9", "models.frames=9", "infill.steps=2", "infill.paste=nothing")
    assert main(["time-infill", *map(str, words), *hydra, "models.video.networks.dtype=float32"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [run["way"] for run in result["runs"]] == ["diffusers", "plain"] and result["frames"] == 9
    assert result["runs"][1]["distance"] < 0.005  # rounding to 8 bits
    assert all(run["wall_s"] >= run["steps_s"] > run["step_ms"] / 1000 > 0 for run in result["runs"])
