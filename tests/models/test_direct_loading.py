"""Networks that are read by several threads and built without memory are those of their library's loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextModelWithProjection, CLIPVisionModelWithProjection

from i2v3d.models import direct_loading
from i2v3d.models.direct_loading import Reading, build, files_of
from tests.support import image_family, video_family
from tests.support.guard import GUARD, ROOT


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    image_family.write_tiny_family(folder)
    video_family.write_tiny_video_family(folder)
    return folder


@pytest.mark.parametrize(
    ("cls", "part", "dtype"),
    [
        (UNet2DConditionModel, "image/unet", torch.float16),
        (AutoencoderKL, "image/vae", torch.float32),
        (CLIPTextModelWithProjection, "image/text_encoder_2", torch.float16),
        (AutoencoderKLTemporalDecoder, "video/vae", torch.float32),
        (CLIPVisionModelWithProjection, "video/image_encoder", torch.float32),
    ],
)
def test_a_network_is_what_its_library_loads(
    family: Path, cls: Any, part: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_loading, "PIECE", 5000)  # tensors of several pieces, pieces of several tensors
    expected = cls.from_pretrained(family / part, torch_dtype=dtype, local_files_only=True)
    files = files_of(cls, family / part, None)
    found = build(cls, family / part, Reading(files, "cpu", dtype))
    assert found.dtype == dtype
    state = expected.state_dict()
    assert found.state_dict().keys() == state.keys()
    for name, value in found.state_dict().items():
        assert value.dtype == state[name].dtype
        assert torch.equal(value, state[name]), name
    for (name, buffer), (_, other) in zip(found.named_buffers(), expected.named_buffers(), strict=True):
        assert torch.equal(buffer, other), name


def test_a_file_that_is_not_exactly_the_networks_is_left_to_its_library(family: Path, tmp_path: Path) -> None:
    cls, folder = UNet2DConditionModel, family / "image" / "unet"
    (file,) = files_of(cls, folder, None)
    state = dict(Reading([file], "cpu", torch.float32).tensors())
    state.pop("conv_in.bias")
    save_file(state, tmp_path / file.name)
    assert build(cls, folder, Reading([tmp_path / file.name], "cpu", torch.float32)) is None


def test_a_file_that_ends_too_early_is_an_error(family: Path, tmp_path: Path) -> None:
    (file,) = files_of(UNet2DConditionModel, family / "image" / "unet", None)
    short = tmp_path / file.name
    short.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(OSError, match=r"ends after \d+ bytes"):
        Reading([short], "cpu", torch.float32).tensors()


def test_the_guard_keeps_shipped_networks_from_tests_that_are_not_marked() -> None:
    with pytest.raises(AssertionError, match="not marked slow and loads"):
        UNet2DConditionModel.from_pretrained(ROOT / "weights" / "mini" / "image" / "unet")
    GUARD.broken.clear()
