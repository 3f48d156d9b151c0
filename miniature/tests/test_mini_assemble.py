"""The shipped family from its trained parts, and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from i2v3d.errors import WeightsError
from i2v3d.toy import family as mini
from miniature import assemble, take_apart
from miniature.loop import save_half
from miniature.tests.support import command

pytestmark = pytest.mark.slow  # trainings, and the shipped networks

SHIPPED = Path(__file__).parents[2] / "weights" / "mini"


def test_the_shipped_family_taken_apart_and_assembled_is_the_same(tmp_path: Path) -> None:
    """By the two commands: every file that the checksums list, byte for byte."""
    parts, family = tmp_path / "parts", tmp_path / "family"
    command("take_apart", SHIPPED, "--out", parts)
    assert {path.stem for path in parts.iterdir()} == {*assemble.PARTS.values(), mini.TEMPORAL_DECODER}
    command("assemble", "--weights", parts, "--out", family)
    assert (family / assemble.SUMS).read_text() == (SHIPPED / assemble.SUMS).read_text()


def test_a_trained_temporal_decoder_goes_in_and_comes_out(tmp_path: Path) -> None:
    parts, again = tmp_path / "parts", tmp_path / "again"
    take_apart.take_apart(SHIPPED, parts)
    video = assemble.trained_networks([parts])["video/vae"]
    with torch.no_grad():
        video.decoder.time_conv_out.weight.fill_(0.25)  # exact in half precision
    save_half(video, tmp_path / "trained" / f"{mini.TEMPORAL_DECODER}.safetensors")
    networks = assemble.trained_networks([parts, tmp_path / "trained"])
    assert torch.equal(networks["video/vae"].decoder.time_conv_out.weight, video.decoder.time_conv_out.weight)
    mini.write_family(tmp_path / "family", networks)
    take_apart.take_apart(tmp_path / "family", again)
    assert {path.stem for path in again.iterdir()} == {*assemble.PARTS.values(), mini.TEMPORAL_DECODER}
    save_half(mini.random_family(3)["image/vae"], again / "vae.safetensors")
    with pytest.raises(WeightsError, match="trained for another image autoencoder"):
        assemble.trained_networks([again])


def test_a_folder_without_a_family_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"image/vae does not hold the family's network"):
        take_apart.take_apart(tmp_path, tmp_path / "parts")
