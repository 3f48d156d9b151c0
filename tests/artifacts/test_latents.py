"""Inverted latents survive the disk, and what is none of them is refused with its file's name."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from i2v3d.artifacts.latents import InvertedClip, InvertedKeyframes
from i2v3d.errors import ArtifactError, ShapeError

TENSORS = [f.name for f in fields(InvertedClip) if f.name != "guide"]


def keyframes() -> InvertedKeyframes:
    return InvertedKeyframes((1, 4, 7), "a cup, photo", torch.randn(2, 3, 4, 5, 6))


def clip() -> InvertedClip:
    levels, latents = torch.randn(3, 2, 4, 5, 6), torch.randn(4, 5, 6)
    embedding = torch.randn(1, 8)
    return InvertedClip(
        torch.arange(3.0),
        levels,
        levels + 1,
        embedding,
        latents,
        embedding + 1,
        latents + 1,
        torch.ones(3),
        {"control_scale": "1.0"},
    )


def test_keyframes_come_back_as_they_were(tmp_path: Path) -> None:
    made = keyframes()
    made.save(tmp_path)
    read = InvertedKeyframes.load(tmp_path)
    assert (read.frames, read.prompt, read.steps) == ((1, 4, 7), "a cup, photo", 2)
    assert torch.equal(read.latents, made.latents)
    read.check(tmp_path, [1, 4, 7], 2)


@pytest.mark.parametrize(("frames", "steps"), [([1, 4, 8], 2), ([1, 4], 2), ([1, 4, 7], 3)])
def test_an_inversion_of_other_frames_or_steps_is_refused(
    frames: list[int], steps: int, tmp_path: Path
) -> None:
    expected = (
        rf"2 steps of frames \[1, 4, 7\]; expected {steps} steps of .*, set keyframes\.inversion\.steps"
    )
    with pytest.raises(ArtifactError, match=expected):
        keyframes().check(tmp_path, frames, steps)


@pytest.mark.parametrize(
    ("metadata", "shape", "message"),
    [
        ({"frames": "[1]"}, (2, 1, 4, 5, 6), "prompt"),
        ({"frames": "[1", "prompt": ""}, (2, 1, 4, 5, 6), "Expecting"),
        ({"frames": "[1, 2]", "prompt": ""}, (2, 1, 4, 5, 6), "expected steps, keyframes"),
        (None, (2, 1, 4, 5, 6), "frames"),
    ],
)
def test_a_file_that_holds_no_keyframes_is_named(metadata, shape, message: str, tmp_path: Path) -> None:
    save_file({"latents": torch.zeros(shape)}, tmp_path / "latents.safetensors", metadata=metadata)
    with pytest.raises(
        ArtifactError, match=rf"latents\.safetensors is no inversion of keyframes .*{message}"
    ):
        InvertedKeyframes.load(tmp_path)


def test_what_is_missing_or_no_tensors_is_named(tmp_path: Path) -> None:
    for kind in (InvertedKeyframes.load, lambda folder: InvertedClip.load(folder, "cpu")):
        with pytest.raises(ArtifactError, match=r"lacks latents\.safetensors; delete the folder"):
            kind(tmp_path / "none")
        (tmp_path / "latents.safetensors").write_bytes(b"noise")
        with pytest.raises(ArtifactError, match=rf"delete {tmp_path} and re-run"):
            kind(tmp_path)


def test_a_clip_comes_back_as_it_was(tmp_path: Path) -> None:
    made = clip()
    made.save(tmp_path)
    read = InvertedClip.load(tmp_path, "cpu")
    assert all(torch.equal(getattr(read, name), getattr(made, name)) for name in TENSORS)
    assert read.guide == made.guide == {"control_scale": "1.0"}


@pytest.mark.parametrize(
    "changes",
    [
        {"sigmas": torch.arange(4.0)},
        {"reversed": torch.zeros(3, 1, 4, 5, 6)},
        {"forward": torch.zeros(3, 2, 4, 5)},
        {"reversed_latents": torch.zeros(4, 6, 5)},
    ],
)
def test_directions_that_do_not_belong_together_are_refused(
    changes: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    with pytest.raises(ShapeError, match="expected"):
        replace(clip(), **changes)
    tensors = {name: getattr(clip(), name).clone() for name in TENSORS} | changes
    save_file(tensors, tmp_path / "latents.safetensors")
    with pytest.raises(ArtifactError, match="is not an inversion"):
        InvertedClip.load(tmp_path, "cpu")
